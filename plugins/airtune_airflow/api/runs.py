"""What the pages show of the store: the list of runs, and one run; bounded, whatever lies there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from airtune.runspec.status import FINISHED
from airtune.stores import layout
from airtune.stores.base import MissingError, Store
from airtune.stores.opening import open_store
from airtune_airflow.api.patience import in_parallel

MOST_LOOKED_AT: Final = 1000
"""Runs whose run.json is read for one list; the rest is counted."""

MOST_SHOWN: Final = 100
MOST_FILES: Final = 500
LARGEST_JSON: Final = 10 * 1024 * 1024

STAGES: Final = ("validate", "resolve", "train", "evaluate", "gate", "publish")


@dataclass(frozen=True)
class RunSummary:
    """One line of the list; every text is as it stands in the run and must be escaped.

    Attributes:
        run_id: the name of its directory.
        name: the run.json's own name.
        model: architecture and size.
        mode: training mode.
        task: what the model learns.
        state: ``waiting``, ``running``, ``done``, ``failed`` or ``unreadable``.
        stage: where it is, or where it failed.
        message: why it failed.
        created: when it was made, UTC; None where it does not say.
    """

    run_id: str
    name: str = ""
    model: str = ""
    mode: str = ""
    task: str = ""
    state: str = "unreadable"
    stage: str = ""
    message: str = ""
    created: datetime | None = None


@dataclass(frozen=True)
class RunList:
    """The newest runs.

    Attributes:
        store: the store's address.
        runs: newest first, at most :data:`MOST_SHOWN`.
        total: how many there are.
        looked_at: how many were read to find the newest.
    """

    store: str
    runs: list[RunSummary]
    total: int
    looked_at: int


@dataclass(frozen=True)
class RunPage:
    """One run.

    Attributes:
        uri: its address.
        summary: what the list shows of it.
        log: how its stages went, in words.
        stages: the records of its stages' processes, in order.
        scores: name -> value, of the trained model and the base.
        files: (path, bytes) of its files, at most :data:`MOST_FILES`.
        more_files: whether there are more.
    """

    uri: str
    summary: RunSummary
    log: str = ""
    stages: list[Mapping[str, Any]] = field(default_factory=list)
    scores: list[tuple[str, str, str]] = field(default_factory=list)
    files: list[tuple[str, int]] = field(default_factory=list)
    more_files: bool = False


def read_list(store_uri: str) -> RunList:
    """The newest runs of a store.

    Raises:
        AirtuneError: the store does not answer, or refuses.
    """
    store = open_store(store_uri)
    names = store.folders(layout.RUNS)
    # Names made from times sort by time, so the last ones are the best guess where not all can be read.
    chosen = sorted(names)[-MOST_LOOKED_AT:]
    summaries = in_parallel(lambda name: _summary_in(store, name), chosen)
    summaries.sort(key=lambda each: (each.created or datetime.min.replace(tzinfo=UTC), each.run_id), reverse=True)
    return RunList(store_uri, summaries[:MOST_SHOWN], len(names), len(chosen))


def read_run(store_uri: str, run_id: str) -> RunPage:
    """One run of a store.

    Raises:
        MissingError: there is no such run.
        AirtuneError: the store does not answer, or refuses.
    """
    root = open_store(store_uri)
    store = root.sub(f"{layout.RUNS}/{layout.check_run_id(run_id)}")
    raw = _object(store, layout.RUN_JSON)
    if raw is None and store.stat(layout.RUN_JSON) is None:
        raise MissingError([])
    records = in_parallel(lambda stage: _object(store, layout.stage_record(stage)), STAGES)
    metrics = _object(store, layout.METRICS) or {}
    files = [(info.key, info.size) for info in store.list()]
    return RunPage(
        uri=store.uri,
        summary=_summary(run_id, raw),
        log=_text(_at(raw, "status", "log"))[-20_000:],
        stages=[record for record in records if record is not None],
        scores=_scores(metrics),
        files=files[:MOST_FILES],
        more_files=len(files) > MOST_FILES,
    )


def _summary_in(store: Store, run_id: str) -> RunSummary:
    return _summary(run_id, _object(store, f"{layout.RUNS}/{run_id}/{layout.RUN_JSON}"))


def _summary(run_id: str, raw: Mapping[str, Any] | None) -> RunSummary:
    if raw is None:
        return RunSummary(run_id)
    model = _block(raw, "model")
    size = _text(_at(model, "architecture", "size"))
    state, stage, message = _state(raw)
    return RunSummary(
        run_id=run_id,
        name=_text(_at(raw, "spec", "flow", "name")),
        model=f"{_text(_at(model, 'architecture', 'name'))} {size}".strip(),
        mode=_text(_at(model, "trainingMode", "type")),
        task=_text(_at(_block(raw, "dataset"), "projectKind")),
        state=state,
        stage=stage,
        message=message,
        created=_time(_at(raw, "metadata", "timeCreated")),
    )


def _state(raw: Mapping[str, Any]) -> tuple[str, str, str]:
    conditions = _at(raw, "status", "conditions")
    for condition in conditions if isinstance(conditions, list) else []:
        if isinstance(condition, Mapping) and condition.get("condition") == FINISHED:
            words = {"Waiting": "running", "Reached": "done", "FailedReach": "failed"}
            state = words.get(_text(condition.get("status")), "waiting")
            return state, _text(condition.get("reason")), _text(condition.get("message"))
    return "waiting", "", ""


def _scores(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    tuned, base = _at(metrics, "tuned", "greedy"), _at(metrics, "base", "greedy")
    if not isinstance(tuned, Mapping):
        return []
    return [(_text(name), _number(value), _number(_at(base, name))) for name, value in list(tuned.items())[:30]]


def _block(raw: Mapping[str, Any], word: str) -> Mapping[str, Any]:
    blocks = _at(raw, "spec", "flow", "blocks")
    for block in blocks if isinstance(blocks, list) else []:
        if isinstance(block, Mapping) and word in _text(block.get("block")):
            settings = block.get("settings")
            return settings if isinstance(settings, Mapping) else {}
    return {}


def _object(store: Store, key: str) -> Mapping[str, Any] | None:
    """The JSON object ``key``; None when it is missing, too large, or none."""
    info = store.stat(key)
    if info is None or info.size > LARGEST_JSON:
        return None
    try:
        found = json.loads(store.read(key))
    except (MissingError, ValueError, RecursionError):
        return None
    return found if isinstance(found, Mapping) else None


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _text(value: Any) -> str:
    return value[:2000] if isinstance(value, str) else ""


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _time(milliseconds: Any) -> datetime | None:
    if not isinstance(milliseconds, int) or isinstance(milliseconds, bool):
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None
