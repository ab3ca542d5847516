"""Where things lie: files and S3 behind one small interface, and the run directory's layout."""
