"""Which files of a Hugging Face dataset folder hold its rows, and of which split they are.

The rules are those of the hub: the configurations in the head of ``README.md`` where it has some, else names
(:mod:`airtune.datasets.readers.splits`). Only one configuration is read: the one called ``default`` or marked so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

import yaml

from airtune.datasets.draft import Reject, short
from airtune.datasets.readers.splits import delivered, documents_left_out, named_split, sides_of
from airtune.datasets.record import Split
from airtune.datasets.sources.source import WHERE, Source
from airtune.datasets.sources.table_cells import TABLES
from airtune.errors import DataError, Problem

SIDECARS: Final = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
"""Names of the files that describe the images of a folder, one row an image."""

_CACHED: Final = re.compile(r"cache-[0-9a-f]+(?:_\d+_of_\d+)?\.arrow")
_FRONT: Final = re.compile(r"\A\ufeff?---\s*\n(?P<yaml>.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_README: Final = "README.md"
_STATE: Final = "state.json"
_SMALL: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class HubFiles:
    """The files of a dataset.

    Attributes:
        sides: the side of the split of each file with rows, in the order in which they are read.
        notes: what is left out, in sentences.
    """

    sides: dict[str, Split | None]
    notes: list[str] = field(default_factory=list)


def hub_files(source: Source) -> HubFiles:
    """The files with rows.

    Raises:
        DataError: the README names several configurations and none of them as the default.
    """
    tables = [key for key in sorted(source.keys) if is_table(key)]
    described = _configuration(source, tables)
    if described is not None:
        return described
    kept, notes = _without_leftovers(source, tables)
    sides, left_out = delivered(kept)
    notes += documents_left_out(left_out)
    return HubFiles(sides, notes)


def is_table(key: str) -> bool:
    """Whether a file is a table of the hub, by its name."""
    return key.lower().endswith(TABLES) or PurePosixPath(key).name in SIDECARS


def _without_leftovers(source: Source, tables: list[str]) -> tuple[list[str], list[str]]:
    """The tables without what the ``datasets`` library left of an earlier state of them."""
    named: dict[str, set[str]] = {}
    for key in source.keys:
        folder, _, name = key.rpartition("/")
        if name == _STATE:
            files = _json(source, key).get("_data_files")
            if isinstance(files, list):
                named[folder] = {str(file.get("filename")) for file in files if isinstance(file, Mapping)}
    kept: list[str] = []
    stale: list[str] = []
    for key in tables:
        folder, _, name = key.rpartition("/")
        old = _CACHED.fullmatch(name) or (name.endswith(".arrow") and name not in named.get(folder, {name}))
        (stale if old else kept).append(key)
    notes = [f"{len(stale)} Arrow files are leftovers of the datasets library: {short(stale[:5])}"] if stale else []
    return kept, notes


def _json(source: Source, key: str) -> Mapping[str, Any]:
    try:
        value = json.loads(source.head(key, _SMALL))
    except (Reject, ValueError, RecursionError):
        return {}
    return value if isinstance(value, Mapping) else {}


def _configuration(source: Source, tables: list[str]) -> HubFiles | None:
    """The files of the one configuration of the README; None where it has none."""
    configs = [config for config in _configs(source) if isinstance(config.get("data_files"), str | list | Mapping)]
    if not configs:
        return None
    chosen = [config for config in configs if config.get("default") is True or config.get("config_name") == "default"]
    if len(configs) > 1 and len(chosen) != 1:
        names = ", ".join(_name(config) for config in configs[:20])
        raise DataError(
            Problem(
                WHERE,
                f"the dataset has {len(configs)} configurations, and one is trained: {names}",
                value=source.uri,
                fix="write `default: true` beside the one that is meant in README.md, or copy its files to a folder",
            )
        )
    config = chosen[0] if len(configs) > 1 else configs[0]
    splits = _patterns(config["data_files"])
    found = {key: split for split, patterns in splits for key in _matching(tables, patterns)}
    if not found:
        return None
    sides, left_out = sides_of({key: named_split(f"{split}.x") for key, split in found.items()})
    others = [key for key in tables if key not in found]
    notes = documents_left_out(left_out)
    if others:
        where = f"no split of the configuration {_name(config)}"
        notes.append(f"{len(others)} tables belong to {where} and are left out: {short(others[:5])}")
    return HubFiles(sides, notes)


def _name(config: Mapping[str, Any]) -> str:
    name = config.get("config_name")
    return name[:60] if isinstance(name, str) else "without a name"


def _configs(source: Source) -> list[Mapping[str, Any]]:
    if _README not in source.keys:
        return []
    try:
        front = _FRONT.match(source.head(_README, _SMALL).decode("utf-8", errors="replace"))
        found = yaml.safe_load(front["yaml"]) if front else None
    except (Reject, yaml.YAMLError, ValueError, RecursionError):
        return []
    configs = found.get("configs") if isinstance(found, Mapping) else None
    return [config for config in configs if isinstance(config, Mapping)] if isinstance(configs, list) else []


def _patterns(data_files: Any) -> list[tuple[str, list[str]]]:
    """Each split with its patterns, in all the ways in which a README may write them."""
    if isinstance(data_files, str):
        return [("train", [data_files])]
    if isinstance(data_files, Mapping):
        return [(str(split), _texts(paths)) for split, paths in data_files.items()]
    splits: list[tuple[str, list[str]]] = []
    for item in data_files:
        if isinstance(item, str):
            splits.append(("train", [item]))
        elif isinstance(item, Mapping):
            splits.append((str(item.get("split", "train")), _texts(item.get("path"))))
    return splits


def _texts(value: Any) -> list[str]:
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]


def _matching(keys: Iterable[str], patterns: Iterable[str]) -> list[str]:
    expressions = [re.compile(_expression(pattern.removeprefix("./"))) for pattern in patterns]
    return [key for key in keys if any(expression.fullmatch(key) for expression in expressions)]


def _expression(pattern: str) -> str:
    parts = re.split(r"(\*\*/?|\*|\?)", pattern)
    means = {"**": ".*", "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return "".join(means.get(part, re.escape(part)) for part in parts)
