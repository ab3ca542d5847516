"""``python -m airtune.cli`` is ``airtune``."""

from airtune.cli.app import main

if __name__ == "__main__":
    raise SystemExit(main())
