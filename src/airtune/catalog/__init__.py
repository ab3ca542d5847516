"""What can be trained: architectures, their sizes, and where their parts are."""
