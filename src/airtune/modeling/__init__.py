"""Loading a vision-language model and rendering its conversations, for training and evaluation alike."""
