"""Short names for settings: ``--set epochs=3`` at a terminal, a field of the trigger form in Airflow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from airtune.errors import Problem, SettingsError
from airtune.runspec.faults import allowed_text, nearest
from airtune.runspec.fields import AUTO
from airtune.runspec.json_text import json_text
from airtune.runspec.settings import all_settings

QUANTIZATION: Final = "quantization"
"""One name for two settings: a 4-bit format switches 4 bit on, ``none`` switches it off."""

# Where the last key of a setting is no good name; all others are named by it (learningRate -> learning-rate).
_NAMES: Final = {
    "name": "name",
    "dataset.projectKind": "task",
    "dataset.airtune.source": "dataset",
    "dataset.airtune.format": "dataset-format",
    "system-prompt.systemPrompt": "system-prompt",
    "model.architecture.name": "architecture",
    "model.architecture.size": "size",
    "model.trainingMode.type": "mode",
    "model.compute.precisionType": "precision",
    "model.evaluation.seed": "sampling-seed",
}
_UNNAMED: Final = frozenset(
    {
        "model.quantization.enabled",
        "model.quantization.type",
        "model.evaluation.stopStrings",
        "model.evaluation.eosTokenId",
        "model.evaluation.padTokenId",
        "model.evaluation.bosTokenId",
    }
)


@dataclass(frozen=True)
class Override:
    """One short name.

    Attributes:
        name: the name, for example ``learning-rate``.
        paths: the short paths of the settings that it sets.
        schema: the JSON schema of its value.
        description: what it means.
    """

    name: str
    paths: tuple[str, ...]
    schema: Mapping[str, Any]
    description: str


@cache
def all_overrides() -> Mapping[str, Override]:
    """Every short name, in the order of the file."""
    return MappingProxyType({override.name: override for override in _made()})


def _made() -> Iterator[Override]:
    for path, setting in all_settings().items():
        if path == "model.quantization.enabled":
            yield Override(
                QUANTIZATION,
                ("model.quantization.enabled", "model.quantization.type"),
                MappingProxyType({"enum": ["NF4", "FP4", "none", AUTO]}),
                "4-bit format of the base model, or none",
            )
        if path not in _UNNAMED:
            name = _NAMES.get(path) or re.sub(r"(?<=[a-z])(?=[A-Z])", "-", setting.keys[-1]).lower()
            yield Override(name, (path,), setting.schema, setting.description)


def resolved(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """From names to settings.

    Args:
        given: name -> value. A name is a short name (dashes, underscores and capitals do not matter), or a setting's
            short path; an object as the value stands for the paths below its name. None is passed over.

    Returns:
        Short path -> value, and short path -> the name under which it was given.

    Raises:
        SettingsError: names that are no setting, two names for one setting, or a quantization that is none.
    """
    if not isinstance(given, Mapping):
        raise SettingsError(
            Problem("overrides", "is not an object", value=json_text(given), allowed="an object: name -> value")
        )
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    problems: list[Problem] = []
    for name, value in _flat(given):
        found = _find(name)
        if found is None:
            problems.append(_unknown(name, value))
            continue
        if value is None:
            continue
        for path, each in _assigned(found, value, problems):
            if path in names:
                problems.append(Problem(f"override {name}", f"sets the same as the override {names[path]}"))
            values[path], names[path] = each, name
    if problems:
        raise SettingsError(problems)
    return values, names


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Reads ``["epochs=3", "learning-rate=1e-4"]``.

    A value becomes what its setting wants: an integer, a number, true or false, or the text itself. A text that
    does not fit is kept, so that the check of the run.json can say what is wrong with it.

    Raises:
        SettingsError: an assignment has no ``=``, or a name is unknown or stands twice; all of them are named.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals or not name:
            problems.append(
                Problem(
                    "--set",
                    "is not an assignment",
                    value=json_text(assignment),
                    allowed="name=value, for example epochs=3",
                )
            )
            continue
        found = _find(name)
        if found is None:
            problems.append(_unknown(name, text, place="--set"))
        elif name in values:
            problems.append(Problem(f"--set {name}", "stands twice", fix="keep one of the two"))
        else:
            values[name] = _typed(text.strip(), found.schema)
    if problems:
        raise SettingsError(problems)
    return values


def _flat(given: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in given.items():
        name = f"{prefix}{key}"
        # Only names can nest: a value that is an object is no setting's value.
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _find(name: str) -> Override | None:
    return _by_plain_name().get(_plain(name))


@cache
def _by_plain_name() -> Mapping[str, Override]:
    found = {
        _plain(path): Override(path, (path,), each.schema, each.description) for path, each in all_settings().items()
    }
    found |= {_plain(name): override for name, override in all_overrides().items()}
    return MappingProxyType(found)


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _unknown(name: str, value: object, place: str = "override") -> Problem:
    close = nearest(name, [*all_overrides(), *all_settings()])
    return Problem(
        f"{place} {name[:80]}",
        "is no setting",
        value=json_text(value),
        allowed=", ".join(all_overrides()),
        fix=f"did you mean {close!r}?" if close else None,
    )


def _assigned(override: Override, value: Any, problems: list[Problem]) -> list[tuple[str, Any]]:
    if override.name != QUANTIZATION:
        return [(override.paths[0], value)]
    enabled, kind = override.paths
    choices: dict[Any, list[tuple[str, Any]]] = {
        "none": [(enabled, False)],
        AUTO: [(enabled, AUTO), (kind, AUTO)],
        "NF4": [(enabled, True), (kind, "NF4")],
        "FP4": [(enabled, True), (kind, "FP4")],
    }
    if isinstance(value, str) and value in choices:
        return choices[value]
    close = nearest(value, choices) if isinstance(value, str) else None
    problems.append(
        Problem(
            "override quantization",
            "is not one of the allowed values",
            value=json_text(value),
            allowed=allowed_text(override.schema),
            fix=f"did you mean {close!r}?" if close else None,
        )
    )
    return []


def _typed(text: str, schema: Mapping[str, Any]) -> Any:
    kinds = {kind.get("type") for kind in schema.get("anyOf", [schema])}
    if text == AUTO or not kinds & {"integer", "number", "boolean", "array"}:
        return text
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        value = _python_number(text)
    if "number" in kinds and isinstance(value, int) and not isinstance(value, bool):
        return value
    fits = {"integer": int, "number": float, "boolean": bool, "array": list}
    return value if any(type(value) is fits[kind] for kind in kinds & set(fits)) else _as_said(text, value)


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _python_number(text: str) -> Any:
    try:
        return float(text) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) else text
    except ValueError:
        return text


def _as_said(text: str, value: Any) -> Any:
    # 2.5 for a whole number stays a number, so that the message can say so; anything else stays a text.
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text
