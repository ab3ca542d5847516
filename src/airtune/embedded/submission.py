"""What happens to a run.json before it is sent to Airflow: local paths become URIs, and everything is checked."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from airtune.catalog.checking import check_text
from airtune.errors import Problem, SettingsError
from airtune.runspec.document import RunDocument
from airtune.runspec.overrides import parse_assignments, resolved
from airtune.stores.permission import is_hub_id

DATASET: Final = "dataset.airtune.source"
BASE_MODEL: Final = "model.airtune.baseModel"
"""The two settings that say where something lies."""

_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*://")
_DEMO: Final = "demo://"


@dataclass(frozen=True)
class Submission:
    """A run that may be sent.

    Attributes:
        document: the run.json, with URIs where it had local paths.
        overrides: what was set beside it: name -> value, with URIs likewise.
    """

    document: RunDocument
    overrides: Mapping[str, Any]

    def conf(self) -> dict[str, Any]:
        """What the DAG is triggered with."""
        return {"run": self.document.raw, "overrides": dict(self.overrides)}


def prepare(path: Path, assignments: Sequence[str], *, home: Path | None) -> Submission:
    """Reads and checks a run.json.

    Relative paths in it are relative to its own folder, those of assignments to the current one. A dataset
    ``demo://NAME`` is made below ``home`` first.

    Args:
        path: the run.json.
        assignments: ``name=value`` of ``--set``.
        home: AIRTUNE_HOME; None only looks, and makes no demo's dataset.

    Raises:
        SettingsError: with everything that is wrong.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SettingsError(Problem(str(path), f"cannot be read ({error.strerror})")) from error
    problems: list[Problem] = []
    values = _assigned(assignments, problems)
    overrides = _with_uris(values, Path.cwd(), home, problems)
    problems += check_text(text, str(path), overrides)
    if problems:
        raise SettingsError(problems)
    document = RunDocument.parse(text, where=str(path))
    places, _ = resolved(overrides)
    changed = {}
    for setting, value in (
        (DATASET, document.spec.dataset.source),
        (BASE_MODEL, document.spec.model.base_model),
    ):
        if value is None or setting in places:  # what is replaced need not exist
            continue
        uri = absolute_uri(value, path.parent, home, document.path(setting), problems)
        if uri != value:
            changed[setting] = uri
    if problems:
        raise SettingsError(problems)
    return Submission(document.with_overrides(changed) if changed else document, MappingProxyType(overrides))


def absolute_uri(value: str, folder: Path, home: Path | None, where: str, problems: list[Problem]) -> str:
    """A URI for what may be a local path.

    Args:
        value: a URI, a path, the hub id of a base model, or ``demo://NAME``.
        folder: what a relative path is relative to.
        home: AIRTUNE_HOME, where a demo's dataset is made, or None.
        where: how a problem names the setting.
        problems: takes what is wrong.
    """
    if value.startswith(_DEMO):
        return _demo_dataset(value.removeprefix(_DEMO), home, where, problems)
    if _URI.match(value):
        return value
    found = (folder / Path(value).expanduser()).resolve()
    if found.exists():
        return found.as_uri()
    if "baseModel" in where or "base-model" in where:
        if is_hub_id(value):
            return value
        allowed = "a folder, file:///…, s3://…, or a hub id such as Qwen/Qwen3-VL-2B-Instruct"
    else:
        allowed = "a folder, file:///… or s3://…"
    problems.append(Problem(where, f"there is nothing at {found}", value=json.dumps(value), allowed=allowed))
    return value


def _assigned(assignments: Sequence[str], problems: list[Problem]) -> dict[str, Any]:
    """The values of those assignments that are ones, so that the rest of them can be checked as well."""
    try:
        return parse_assignments(assignments)
    except SettingsError as error:
        problems += error.problems
    values: dict[str, Any] = {}
    for assignment in assignments:
        with contextlib.suppress(SettingsError):
            values |= parse_assignments([assignment])
    return values


def _with_uris(values: Mapping[str, Any], folder: Path, home: Path | None, problems: list[Problem]) -> dict[str, Any]:
    made = dict(values)
    for name, value in values.items():
        places, _ = resolved({name: value})
        if isinstance(value, str) and value and not places.keys().isdisjoint({DATASET, BASE_MODEL}):
            shown = "--set base-model" if BASE_MODEL in places else "--set dataset"
            made[name] = absolute_uri(value, folder, home, shown, problems)
    return made


def _demo_dataset(name: str, home: Path | None, where: str, problems: list[Problem]) -> str:
    """The URI of a demo's dataset, which is made the first time."""
    from airtune.datasets.drawn import demo

    writers: dict[str, Callable[[Path], object]] = {
        "shapes": demo.write_demo_dataset,
        "digits": demo.write_digits_dataset,
        "grounding": demo.write_grounding_dataset,
    }
    if name not in writers:
        allowed = ", ".join(f"{_DEMO}{each}" for each in writers)
        problems.append(Problem(where, "there is no such demo dataset", value=f"{_DEMO}{name}", allowed=allowed))
        return f"{_DEMO}{name}"
    if home is None:
        return f"{_DEMO}{name}"
    folder = home / "demo" / "datasets" / name
    whole = folder / ".complete"
    if not whole.exists():
        writers[name](folder)
        whole.touch()
    return folder.as_uri()
