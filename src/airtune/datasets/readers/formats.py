"""Which format a folder is in: found by looking, or named by ``format`` in the run.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import ClassVar, Final, Protocol

from airtune.datasets.draft import Outcome
from airtune.datasets.readers.chat_jsonl import ChatReader
from airtune.datasets.readers.coco import CocoReader
from airtune.datasets.readers.csv_boxes import CsvReader
from airtune.datasets.readers.huggingface import HuggingFaceReader
from airtune.datasets.readers.places import is_image
from airtune.datasets.readers.vi import ViReader, looks_like_vi
from airtune.datasets.readers.voc import VocReader
from airtune.datasets.readers.yolo import YoloReader
from airtune.datasets.sources.source import WHERE, Source
from airtune.errors import DataError, Problem, SettingsError
from airtune.runspec.tasks import Task


class Reader(Protocol):
    """What every format's reader can do with the dataset it was made for."""

    name: ClassVar[str]
    """What ``format`` calls it."""

    def __init__(self, source: Source) -> None: ...

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """Whether the folder looks like this format; costs the heads of a few files at most."""

    def notes(self) -> list[str]:
        """What was left out as a whole, in sentences; complete after :meth:`read`."""

    def images(self) -> list[str]:
        """The keys of all files that are, or should be, images."""

    def read(self, task: Task) -> Iterator[Outcome]:
        """Every sample, usable or not, in the order of the files' names and of their lines: so they are numbered."""


_ALL: Final[tuple[type[Reader], ...]] = (
    *(ViReader, ChatReader, HuggingFaceReader),
    *(CocoReader, VocReader, YoloReader, CsvReader),
)

READERS: Final[dict[str, type[Reader]]] = {reader.name: reader for reader in _ALL}
"""By the name that ``format`` gives them."""


def reader_for(source: Source, named: str | None) -> tuple[str, Reader]:
    """The name of a dataset's format, and a reader for it.

    Args:
        source: the dataset.
        named: the run.json's ``format``; None or ``auto`` looks for itself.

    Raises:
        DataError: the folder is in no format that is known, or looks like several.
        SettingsError: ``named`` is no format.
    """
    if named in READERS:
        return named, READERS[named](source)
    if named not in (None, "auto"):
        where = WHERE.replace("source", "format")
        allowed = ", ".join((*READERS, "auto"))
        raise SettingsError(Problem(where, "not a format that airtune reads", value=repr(named), allowed=allowed))
    found = [name for name, reader in READERS.items() if reader.recognises(source)]
    if len(found) == 1:
        return found[0], READERS[found[0]](source)
    raise _ambiguous(source, found) if found else _unknown(source)


def _ambiguous(source: Source, found: list[str]) -> DataError:
    return DataError(
        Problem(
            WHERE,
            f"the folder can be read in {len(found)} formats: {', '.join(found)}",
            value=source.uri,
            allowed=" or ".join(found),
            fix="name the one that is meant as `format` in the dataset block's airtune settings",
        )
    )


def _unknown(source: Source) -> DataError:
    suffixes = Counter(PurePosixPath(key).suffix.lower() or "no suffix" for key in source.keys)
    found = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(6))
    folders: dict[str, list[str]] = {}
    for key in source.keys:
        folder, _, rest = key.partition("/")
        if rest:
            folders.setdefault(folder, []).append(rest)
    below = sorted(folder for folder, keys in folders.items() if looks_like_vi(keys))
    fix = f"name {source.uri}/{below[0]}" if below else "see docs/datasets.md for what each looks like"
    if not below and all(map(is_image, source.keys)) and any("/" in key for key in source.keys):
        fix += "; where each folder is named for what its images show, name `format` huggingface"
    return DataError(
        Problem(
            WHERE,
            f"no annotations in a format that airtune reads; there are {found}"
            + (f" in the folders {', '.join(sorted(folders)[:6])}" if folders else ""),
            value=source.uri,
            allowed=", ".join(READERS),
            fix=fix,
        )
    )
