"""Holding a run.json against the catalog: does the architecture exist, in this size, for this task and mode?"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from airtune.catalog.entry import CatalogEntry
from airtune.catalog.registry import find, unknown_architecture
from airtune.errors import Problem, SettingsError
from airtune.runspec.document import RunDocument
from airtune.runspec.edits import json_path, value_at
from airtune.runspec.json_text import json_text, read_json
from airtune.runspec.reading import BlockName, read_run
from airtune.runspec.settings import all_settings


def check(document: RunDocument) -> list[Problem]:
    """What the catalog has against a valid run.json; empty when nothing."""
    return check_raw(document.raw, document.blocks)


def check_text(text: str | bytes, where: str = "run.json", overrides: Mapping[str, Any] | None = None) -> list[Problem]:
    """Everything that is wrong with the text of a run.json, at once; empty when nothing is.

    Args:
        text: the text; bytes must be UTF-8.
        where: how problems name the document, usually the file's name.
        overrides: settings that replace the run.json's, see :meth:`RunDocument.with_overrides`.
    """
    try:
        raw = read_json(text, where=where)
    except SettingsError as error:
        return list(error.problems)
    reading = read_run(raw, where=where)
    problems = reading.problems + check_raw(raw, reading.blocks)
    if problems or not overrides:
        return problems
    try:
        return check(RunDocument.parse(text, where=where).with_overrides(overrides))
    except SettingsError as error:
        return list(error.problems)


def check_raw(raw: Any, blocks: Mapping[BlockName, int]) -> list[Problem]:
    """What the catalog has against a raw run.json, which may be wrong otherwise (wrong types are passed over).

    Args:
        raw: the JSON value.
        blocks: where its blocks are.
    """

    def asked(path: str) -> Any:
        return value_at(raw, blocks, path)

    def place(path: str) -> str:
        return json_path(all_settings()[path], blocks)

    name = asked("model.architecture.name")
    if not isinstance(name, str) or not name.strip():
        return []
    entry = find(name)
    if entry is None and isinstance(asked("model.airtune.baseModel"), str):
        return []  # the base model's own files decide, when they are looked at
    if entry is None:
        return [unknown_architecture(name, place("model.architecture.name"))]
    problems = []
    size = asked("model.architecture.size")
    if isinstance(size, str) and size.strip() and not isinstance(asked("model.airtune.baseModel"), str):
        problems += _size_problems(entry, size, place("model.architecture.size"))
    mode = asked("model.trainingMode.type")
    if mode in ("LoRA", "SFT") and mode not in entry.modes:
        problems.append(
            Problem(
                place("model.trainingMode.type"),
                f"{entry.display_name} cannot be trained in this mode",
                value=json_text(mode),
                allowed=", ".join(json_text(each) for each in entry.modes),
                fix=entry.note,
            )
        )
    if mode in (None, "auto") and "LoRA" not in entry.modes and asked("model.quantization.enabled") is True:
        problems.append(
            Problem(
                place("model.quantization.enabled"),
                f"{entry.display_name} is trained with SFT only, and weights in 4 bit cannot be trained",
                value="true",
                allowed="false",
            )
        )
    if asked("dataset.projectKind") == "video-freeform" and not entry.video:
        problems.append(
            Problem(
                place("dataset.projectKind"),
                f"{entry.display_name} takes no videos",
                value=json_text("video-freeform"),
                fix="choose an architecture that does, for example qwen3vl",
            )
        )
    return problems


def _size_problems(entry: CatalogEntry, size: str, path: str) -> list[Problem]:
    if entry.size(size) is not None:
        return []
    close = difflib.get_close_matches(size.upper(), list(entry.sizes), n=1, cutoff=0.3)
    return [
        Problem(
            path,
            f"is no size of {entry.display_name}",
            value=json_text(size),
            allowed=", ".join(json_text(each) for each in entry.sizes),
            fix=f'did you mean "{close[0]}"? Any size is accepted together with airtune.baseModel'
            if close
            else "any size is accepted together with airtune.baseModel",
        )
    ]
