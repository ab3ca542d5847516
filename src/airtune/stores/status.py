"""How a run goes, kept in its run.json in the platform's format: conditions, times, a log of its stages."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, Final

from airtune.errors import SettingsError
from airtune.runspec.json_text import read_json, write_json
from airtune.runspec.status import FINISHED, STARTED, Condition, with_status
from airtune.stores import layout
from airtune.stores.base import MissingError
from airtune.stores.run_directory import RunDirectory

LAST_STAGE: Final = "publish"
"""When this stage is done, so is the run."""

_LOG_LINES: Final = 200


def stage_began(run: RunDirectory, stage: str) -> None:
    """The run has started and is at ``stage``; a run that has finished well is left as it is."""
    _change(run, [Condition(STARTED, "Reached"), Condition(FINISHED, "Waiting", reason=stage)], None)


def stage_ended(run: RunDirectory, stage: str, *, failure: str | None, seconds: float) -> None:
    """``stage`` is over after so many seconds; ``failure`` says why it failed, None that it is done.

    A later try of the stage sets the run back to waiting, so a failure stands only while it is the last word.
    """
    if failure is not None:
        conditions = [Condition(FINISHED, "FailedReach", reason=stage, message=failure)]
    elif stage == LAST_STAGE:
        conditions = [Condition(FINISHED, "Reached", reason=stage)]
    else:
        conditions = []
    how = "done" if failure is None else f"failed: {failure}"
    _change(run, conditions, f"{stage} {how} ({seconds:.1f} s)")


def is_finished(raw: Any) -> bool:
    """Whether a run.json says that its run has ended well."""
    status = raw.get("status") if isinstance(raw, dict) else None
    conditions = status.get("conditions") if isinstance(status, dict) else None
    return any(
        isinstance(each, dict) and each.get("condition") == FINISHED and each.get("status") == "Reached"
        for each in conditions or []
    )


def _change(run: RunDirectory, conditions: list[Condition], line: str | None) -> None:
    def change(data: bytes | None) -> bytes:
        raw = read_json(data or b"", where=layout.RUN_JSON)
        if not isinstance(raw, dict) or is_finished(raw):
            return data or b""
        log = None
        if line is not None:
            stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
            before = str((raw.get("status") or {}).get("log") or "").splitlines()
            log = "\n".join([*before, f"{stamp} {line}"][-_LOG_LINES:])
        return write_json(with_status(raw, at_ms=time.time_ns() // 1_000_000, conditions=conditions, log=log)).encode()

    try:
        run.update(layout.RUN_JSON, change)
    except (SettingsError, MissingError, AttributeError):
        return  # a run.json that cannot be read is the stage's to complain about, at its place
