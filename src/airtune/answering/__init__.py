"""Asks a loaded model questions, and says what its answers are worth; for training and evaluation alike."""
