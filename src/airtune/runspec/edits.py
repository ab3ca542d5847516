"""Writing values into a raw run.json by their short paths; everything else stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from airtune.runspec.reading import BlockName
from airtune.runspec.settings import NAME, Setting, all_settings


def edited(
    raw: dict[str, Any], blocks: Mapping[BlockName, int], values: Mapping[str, Any], *, both_spellings: bool
) -> dict[str, Any]:
    """A deep copy with the values written into it.

    Args:
        raw: a run.json that was read without problems.
        blocks: where its blocks are; a block that is missing is added at the end.
        values: short path -> JSON value.
        both_spellings: write the settings of ``evaluation`` in both spellings, even where the file has one.
    """
    made = copy.deepcopy(raw)
    places = dict(blocks)
    for path, value in values.items():
        if path == NAME:
            made["spec"]["flow"]["name"] = value
            continue
        setting = all_settings()[path]
        at = _settings_of(made, setting, places)
        for key in setting.keys[:-1]:
            at = at.setdefault(key, {})
        _write(at, setting, copy.deepcopy(value), both_spellings)
    return made


def value_at(raw: Any, blocks: Mapping[BlockName, int], path: str) -> Any:
    """What a raw run.json, valid or not, has at a short path; None where it has nothing or is built otherwise."""
    setting = all_settings()[path]
    keys: tuple[str | int, ...] = setting.keys
    if setting.block is not None:
        if setting.block not in blocks:
            return None
        keys = ("spec", "flow", "blocks", blocks[setting.block], "settings", *setting.keys)
    at = raw
    for key in keys:
        if isinstance(key, int):
            at = at[key] if isinstance(at, list) and key < len(at) else None
        else:
            at = at.get(key) if isinstance(at, dict) else None
    return at


def json_path(setting: Setting, blocks: Mapping[BlockName, int]) -> str:
    """The setting's JSON path in a file whose blocks lie so."""
    if setting.block is None:
        return ".".join(setting.keys)
    place = f"[{blocks[setting.block]}]" if setting.block in blocks else f"[{setting.block}]"
    return ".".join((f"spec.flow.blocks{place}.settings", *setting.keys))


def _settings_of(made: dict[str, Any], setting: Setting, places: dict[BlockName, int]) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = made["spec"]["flow"]["blocks"]
    block = setting.block
    if block is None:
        raise KeyError(setting.path)
    if block not in places:
        places[block] = len(blocks)
        blocks.append({"block": block, "settings": {}, "style": {}})
    found: dict[str, Any] = blocks[places[block]]["settings"]
    return found


def _write(at: dict[str, Any], setting: Setting, value: Any, both_spellings: bool) -> None:
    at[setting.keys[-1]] = value
    if setting.snake_case is not None and (both_spellings or setting.snake_case in at):
        at[setting.snake_case] = copy.deepcopy(value)
