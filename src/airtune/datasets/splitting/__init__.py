"""Which samples are learned from and which ones judge, and that both are what they are said to be."""
