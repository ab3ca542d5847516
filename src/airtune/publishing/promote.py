"""Moves ``models/<name>/current.json`` to a run, by compare-and-swap, and keeps ``history.jsonl`` complete.

Of those who promote at the same time exactly one moves the pointer; the others see the new champion and compare
again. A pointer is entered into the history by who set it *and*, before it is replaced, by who replaces it: so the
history has every champion there ever was, also when a publisher was killed between the two writes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from airtune.errors import DefectError, Problem
from airtune.stores import layout
from airtune.stores.base import Store
from airtune.stores.run_directory import update


@dataclass(frozen=True, slots=True)
class Pointer:
    """The content of ``current.json``.

    Attributes:
        run_id: the promoted run.
        run_uri: where it is.
        metric: the primary metric; larger is better.
        value: its value.
        evaluation_set_digest: of the samples it was measured on, or None.
        manifest_sha256: of the run's manifest.json, in hex.
        promoted_at: ISO 8601, UTC.
        previous_run: the champion before, or None.
    """

    run_id: str
    run_uri: str
    metric: str
    value: float
    evaluation_set_digest: str | None
    manifest_sha256: str
    promoted_at: str = ""
    previous_run: str | None = None

    def to_json(self) -> bytes:
        """The file's content."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Promotion:
    """How it went: whether the run is the champion now, and why (not)."""

    promoted: bool
    reason: str


def promote(models: Store, challenger: Pointer, *, compared_with: str | None) -> Promotion:
    """Make ``challenger`` the champion.

    Args:
        models: the store of the model's name.
        challenger: without ``promoted_at`` and ``previous_run``.
        compared_with: id of the champion that the gate has compared it with, None when there was none. If another
            run has been promoted since, the challenger must not be worse than that one either.

    Returns:
        ``promoted`` is True also when the run is the champion already, or has been: then nothing is written.

    Raises:
        DefectError: ``current.json`` cannot be read.
        StoreError: others were faster a hundred times.
    """
    for _ in range(100):
        found = models.read_versioned(layout.CURRENT)
        current = _parsed(found[0], models) if found else None
        if current is not None:
            _enter(models, current)
            if current.get("run_id") == challenger.run_id:
                return Promotion(True, "this run is the champion")
            if _was_promoted(models, challenger.run_id):
                return Promotion(True, f"this run was the champion until {current.get('run_id')} took its place")
            if current.get("run_id") != compared_with:
                worse = _why_not_better(challenger, current)
                if worse is not None:
                    return Promotion(False, worse)
        pointer = Pointer(
            **{
                **asdict(challenger),
                "promoted_at": datetime.now(UTC).isoformat(timespec="microseconds"),
                "previous_run": current.get("run_id") if current else None,
            }
        )
        if models.replace(layout.CURRENT, pointer.to_json(), found[1] if found else None):
            _enter(models, asdict(pointer))
            after = f", in the place of {pointer.previous_run}" if pointer.previous_run else ""
            return Promotion(True, f"{challenger.metric} {challenger.value:.4g}{after}")
    raise DefectError(Problem(f"{models.uri}/{layout.CURRENT}", "was changed a hundred times under our hands"))


def _enter(models: Store, pointer: Mapping[str, Any]) -> None:
    """Adds a line to the history unless it is there; lines are only ever added."""
    line = (json.dumps(pointer, separators=(",", ":")) + "\n").encode()

    def add(data: bytes | None) -> bytes:
        before = data or b""
        return before if line in before.splitlines(keepends=True) else before + line

    update(models, layout.HISTORY, add)


def _was_promoted(models: Store, run_id: str) -> bool:
    found = models.read_versioned(layout.HISTORY)
    lines = found[0].splitlines() if found else []
    return any(json.loads(line).get("run_id") == run_id for line in lines)


def _why_not_better(challenger: Pointer, current: Mapping[str, Any]) -> str | None:
    """Why a champion that was promoted after the gate's decision stays; None when the challenger is not worse."""
    who = f"{current.get('run_id')} became the champion after the gate's decision"
    value = current.get("value")
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if current.get("metric") != challenger.metric or not is_number:
        return f"{who} and cannot be compared by {challenger.metric}"
    if challenger.value < float(value):  # type: ignore[arg-type]
        return f"{who} and is better: {challenger.metric} {value:.4g} against {challenger.value:.4g}"
    return None


def _parsed(data: bytes, models: Store) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DefectError(
            Problem(f"{models.uri}/{layout.CURRENT}", "is no JSON object, so it is not known what is promoted",
                    fix=f"restore it from the last line of {layout.HISTORY}, or remove it")
        )  # fmt: skip
    return found
