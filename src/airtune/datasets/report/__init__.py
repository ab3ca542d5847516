"""The page about a dataset: one file, readable without a network."""
