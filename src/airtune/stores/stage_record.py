"""How each stage's process went: ``status/<stage>.json``, written when it starts and when it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psutil

from airtune.errors import AirtuneError, ExitCode
from airtune.stores import layout, status
from airtune.stores.run_directory import RunDirectory


def read_stage_record(run: RunDirectory, stage: str) -> dict[str, Any] | None:
    """The record of a stage's latest try, or None when it has not begun."""
    name = layout.stage_record(stage)
    return dict(run.read_json(name)) if run.exists(name) else None


@contextmanager
def stage(run: RunDirectory, name: str) -> Iterator[None]:
    """Keep ``status/<name>.json`` and run.json's status around a stage's work; what it raises goes on to the caller.

    The record has the keys ``stage``, ``state`` (running, done, failed), ``started`` and ``finished`` (ISO 8601,
    UTC; ``finished`` is null while it runs), ``seconds`` (of the stage's work), ``process_seconds`` (since its command
    was started: imports and launchers as well), ``exit_code`` (null while it runs), ``message``, ``problems``, ``try``
    (1, 2, ...) and ``process`` (its id).
    """
    before = read_stage_record(run, name)
    begun = time.monotonic()
    record: dict[str, Any] = {
        "stage": name,
        "state": "running",
        "started": _now(),
        "finished": None,
        "seconds": None,
        "process_seconds": None,
        "exit_code": None,
        "message": None,
        "problems": [],
        "try": int((before or {}).get("try", 0)) + 1,
        "process": os.getpid(),
    }
    run.write_json(layout.stage_record(name), record)
    status.stage_began(run, name)

    def finish(state: str, exit_code: int, message: str | None, problems: list[dict[str, str | None]]) -> None:
        record.update(
            state=state,
            finished=_now(),
            seconds=round(time.monotonic() - begun, 3),
            process_seconds=round(time.time() - _command_started(), 3),
            exit_code=exit_code,
            message=message,
            problems=problems,
        )
        status.stage_ended(run, name, failure=message if exit_code else None, seconds=record["seconds"])
        run.write_json(layout.stage_record(name), record)

    try:
        yield
    except AirtuneError as error:
        _finish_anyway(finish, int(error.exit_code), str(error), [problem.to_json() for problem in error.problems])
        raise
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else (0 if error.code is None else 1)
        _finish_anyway(finish, code, None if code == 0 else f"exit {error.code}", [])
        raise
    except BaseException as error:
        _finish_anyway(finish, int(ExitCode.DEFECT), f"{type(error).__name__}: {error}", [])
        raise
    finish("done", 0, None, [])


def _finish_anyway(finish: Any, code: int, message: str | None, problems: list[dict[str, str | None]]) -> None:
    """Record a failure; a store that fails now must not hide why the stage failed."""
    try:
        finish("failed" if code else "done", code, message, problems)
    except AirtuneError:
        return


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _command_started() -> float:
    """When the stage's command was started, seconds since 1970.

    That is the first process of our process group: whoever starts a stage gives it a group of its own, and under
    ``accelerate launch`` this process is only the last of several in it.
    """
    own = psutil.Process()
    try:
        leader = psutil.Process(os.getpgid(0))
        return min(leader.create_time(), own.create_time())
    except psutil.Error:
        return own.create_time()
