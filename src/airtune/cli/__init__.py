"""The command line: everything that airtune does is one of its commands."""

from airtune.cli.app import main

__all__ = ["main"]
