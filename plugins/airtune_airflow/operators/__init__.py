"""Operators that run a stage where the platform engineer says: as a child process, or as a pod."""
