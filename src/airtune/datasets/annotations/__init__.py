"""What stands in an annotation: boxes and texts, and what has to be changed before they are trained."""
