"""How a run goes, in the platform's format: conditions, a log, times in milliseconds."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

State = Literal["Waiting", "Reached", "FailedReach"]

STARTED: Final = "Started"
FINISHED: Final = "Finished"


@dataclass(frozen=True)
class Condition:
    """One thing that happened, or has yet to.

    Attributes:
        condition: ``Started``, ``Finished``, or a stage's name.
        status: ``Waiting``, ``Reached`` or ``FailedReach``.
        reason: a short word, or None.
        message: a sentence, or None.
    """

    condition: str
    status: State
    reason: str | None = None
    message: str | None = None


Conditions = Iterable[Condition]


def with_status(
    raw: dict[str, Any], *, at_ms: int, conditions: Conditions = (), log: str | None = None
) -> dict[str, Any]:
    """A deep copy with its status moved on.

    Args:
        raw: a valid run.json.
        at_ms: now, in milliseconds since 1970; becomes ``metadata.lastUpdated``, and ``timeCreated`` where there
            is none.
        conditions: each replaces the one of the same name, or is added; its time moves only when its status does.
        log: replaces the log; None leaves it.
    """
    made = copy.deepcopy(raw)
    metadata = _object(made, "metadata")
    if metadata.get("timeCreated") is None:
        metadata["timeCreated"] = at_ms
    metadata["lastUpdated"] = at_ms
    if metadata.get("generation") is None:
        metadata["generation"] = 1
    if metadata.get("attributes") is None:
        metadata["attributes"] = {}
    status = _object(made, "status")
    status["log"] = log if log is not None else (status.get("log") or "")
    status["observedGeneration"] = metadata["generation"]
    kept: list[dict[str, Any]] = status.setdefault("conditions", [])
    for condition in conditions:
        before = next((each for each in kept if each.get("condition") == condition.condition), None)
        moved = before is None or before.get("status") != condition.status
        entry = {
            "condition": condition.condition,
            "status": condition.status,
            "lastTransitionTime": at_ms if moved or before is None else before["lastTransitionTime"],
        }
        entry |= {key: text for key in ("reason", "message") if (text := getattr(condition, key)) is not None}
        if before is None:
            kept.append(entry)
        else:
            before.clear()
            before.update(entry)
    return made


def fresh(raw: dict[str, Any], *, run_id: str) -> dict[str, Any]:
    """A deep copy that describes a run that has not begun: no conditions, no times, an id of its own.

    A run.json that was downloaded from the platform tells how *its* run ended. The id of that run is kept as
    ``metadata.attributes.sourceRunId``.
    """
    made = copy.deepcopy(raw)
    metadata = _object(made, "metadata")
    attributes = dict(metadata.get("attributes") or {})
    source = made.get("runId")
    if isinstance(source, str) and source != run_id:
        attributes["sourceRunId"] = source
    metadata["attributes"] = attributes
    for key in ("timeCreated", "lastUpdated"):
        metadata.pop(key, None)
    if metadata.get("generation") is None:
        metadata["generation"] = 1
    made["kind"] = "Run"
    made["runId"] = run_id
    made["spec"]["killedAt"] = None
    status = _object(made, "status")
    status |= {"log": "", "observedGeneration": metadata["generation"], "conditions": []}
    return made


def _object(parent: dict[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(parent.get(key), dict):
        parent[key] = {}
    found: dict[str, Any] = parent[key]
    return found
