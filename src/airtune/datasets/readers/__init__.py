"""From a dataset's format to samples: one file a format, and one that finds out which it is."""
