"""Puts the commands together, and turns what goes wrong into words and an exit code."""

from __future__ import annotations

import contextlib
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Annotated, Final

import typer

from airtune import __version__
from airtune.cli import (
    checking,
    data,
    data_convert,
    data_diff,
    data_preview,
    demonstration,
    estimating,
    platform,
    runs,
    stages,
)
from airtune.cli.surroundings import find_home
from airtune.cli.words import ERR, tell_error
from airtune.errors import AirtuneError, ExitCode

_HELP = """Retrains vision-language models from one run.json: on this machine, or on your Airflow, GPUs and S3."""
_INTERRUPTED: Final = 130
_WRONG_USAGE: Final = 2  # of the library that reads the command line

app = typer.Typer(
    name="airtune",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"airtune {__version__}")
        raise typer.Exit


@app.callback()
def _everywhere(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version
    find_home()


for part in (platform, demonstration, runs, checking, data, data_convert, data_diff, data_preview, estimating, stages):
    part.register(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: what follows ``airtune``; default the process's own.

    Returns:
        The exit code: one of :class:`airtune.errors.ExitCode`, 130 after Ctrl-C, 64 for wrong usage.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    with _interruptible():
        return _run(given)


def _run(given: list[str]) -> int:
    try:
        app(args=given, prog_name="airtune")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code == _INTERRUPTED:
            ERR.print("stopped")
        return int(ExitCode.SETTINGS) if code == _WRONG_USAGE else code
    except AirtuneError as error:
        tell_error(error, as_json="--json" in given)
        return int(error.exit_code)
    except Exception:
        traceback.print_exc()
        return int(ExitCode.DEFECT)
    return 0


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and a closed terminal stop a command as Ctrl-C does: everything it started is stopped first."""
    numbers = [signal.SIGINT, signal.SIGTERM]  # SIGINT too: a shell's background job begins with it ignored
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, _as_interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt
