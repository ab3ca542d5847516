"""What lies under a dataset's address: a folder, a bucket, an archive, a table with pictures in its cells."""
