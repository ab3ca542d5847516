"""Which side of the split a file belongs to, by its name and those of its folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final, Literal

from airtune.datasets.draft import short
from airtune.datasets.record import Split

NamedSplit = Literal["train", "validation", "test"]
"""What a split may be called."""

_WORD: Final = re.compile(r"[a-z]+")
_MEANS: Final[dict[str, NamedSplit]] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "eval": "validation",
    "evaluation": "validation",
    "test": "test",
    "testing": "test",
}
"""Those that the Hugging Face hub knows, too."""


def named_split(key: str) -> NamedSplit | None:
    """The split that a file's name says, or else the nearest of its folders that says one.

    It is a word of its own in the name: ``train-00000.jsonl``, ``my_val.json``, but not ``values.jsonl``.

    Returns:
        None where there is no such word, or where two contradict each other.
    """
    path = PurePosixPath(key.lower())
    for part in (path.name.partition(".")[0], *(folder.name for folder in path.parents if folder.name)):
        found = {_MEANS[word] for word in _WORD.findall(part) if word in _MEANS}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def delivered(keys: Iterable[str]) -> tuple[dict[str, Split | None], list[str]]:
    """The side that each file is for by its name, and the files that are for neither, see :func:`sides_of`."""
    return sides_of({key: named_split(key) for key in keys})


def sides_of(splits: Mapping[str, NamedSplit | None]) -> tuple[dict[str, Split | None], list[str]]:
    """The side that each file is for, and the files that are for neither.

    A test split is for validation where there is no other: beside a validation split it is left out, because whoever
    delivers both wants to be judged on the test split later (and often ships it without answers).

    Args:
        splits: of each file.
    """
    spare = "validation" in splits.values()
    sides: dict[str, Split | None] = {
        key: "validation" if split == "test" else split
        for key, split in splits.items()
        if not (spare and split == "test")
    }
    return sides, [key for key in splits if key not in sides]


def delivered_by_folder(keys: Iterable[str]) -> tuple[dict[str, Split | None], list[str]]:
    """As :func:`delivered`, by the names of the folders alone: of files that are named for what an image shows."""
    folders: dict[str, list[str]] = {}
    for key in keys:
        folders.setdefault(key.rpartition("/")[0], []).append(key)
    marked = {f"{folder}/_": files for folder, files in folders.items()}
    sides, left_out = delivered(marked)
    return (
        {key: side for mark, side in sides.items() for key in marked[mark]},
        [key for mark in left_out for key in marked[mark]],
    )


def documents_left_out(left_out: Sequence[str]) -> list[str]:
    """The note about files of many samples that a reader leaves out for their split; none where there are none."""
    return [f"left out, because a validation split is there: {short(left_out[:5])}"] if left_out else []


def files_left_out(left_out: Sequence[str]) -> list[str]:
    """The note about files of one image each that a reader leaves out for their split; none where there are none."""
    if not left_out:
        return []
    some = short(left_out[:3])
    return [f"{len(left_out)} files of a test split are left out, because a validation split is there: {some}"]
