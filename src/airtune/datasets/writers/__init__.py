"""Formats that a dataset can be written in."""
