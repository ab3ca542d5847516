"""From what was asked to what will run: every setting concrete, with its source and reason."""
