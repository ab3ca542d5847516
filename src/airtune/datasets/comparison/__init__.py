"""One dataset beside another: which samples changed, and how far their distributions moved."""
