"""What the commands say to people, on stderr, and to machines, on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from airtune.errors import AirtuneError

OUT: Final = Console(highlight=False, soft_wrap=True)
"""Results, for people. Text from outside goes through :func:`rich.markup.escape` first."""

ERR: Final = Console(stderr=True, highlight=False, soft_wrap=True)
"""Progress and problems, for people."""


def say(line: str) -> None:
    """Tells a person what is going on."""
    ERR.print(escape(line), style="dim")


def tell_error(error: AirtuneError, *, as_json: bool = False) -> None:
    """Says everything that is wrong: to people on stderr, to machines as JSON on stdout."""
    if as_json:
        print_json(error.to_json())
        return
    tell_problems([problem.to_json() for problem in error.problems])


def tell_problems(problems: Iterable[Mapping[str, Any]]) -> None:
    """Says problems, one below the other: where, what, what was found, what is allowed, what to do."""
    for problem in problems:
        ERR.print(f"[bold red]{escape(str(problem['where']))}[/]: {escape(str(problem['message']))}")
        for key, word in (("value", "found"), ("allowed", "allowed"), ("fix", "to do")):
            if problem.get(key) is not None:
                ERR.print(f"    [dim]{word:>7}[/]  {escape(str(problem[key]))}")


def print_json(value: Any) -> None:
    """Prints JSON for machines, and nothing else on stdout."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
    sys.stdout.flush()
