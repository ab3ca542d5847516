"""Which format a folder is in: found by looking, or named by ``format`` in the run.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final, Protocol

from airtune.datasets.draft import Outcome
from airtune.datasets.readers.chat_jsonl import ChatReader
from airtune.datasets.readers.vi import ViReader, looks_like_vi
from airtune.datasets.source import WHERE, Source
from airtune.errors import DataError, Problem, SettingsError
from airtune.runspec.tasks import Task


class Reader(Protocol):
    """What every format's reader can do with the dataset it was made for."""

    def notes(self) -> list[str]:
        """What was left out as a whole, in sentences; complete after :meth:`read`."""

    def images(self) -> list[str]:
        """The keys of all files that are, or should be, images."""

    def read(self, task: Task) -> Iterator[Outcome]:
        """Every sample, usable or not, in an order that depends on nothing but the files."""


READERS: Final[dict[str, type[ViReader | ChatReader]]] = {ViReader.name: ViReader, ChatReader.name: ChatReader}
"""By the name that ``format`` gives them, in the order in which they look."""


def reader_for(source: Source, named: str | None) -> tuple[str, Reader]:
    """The name of a dataset's format, and a reader for it.

    Args:
        source: the dataset.
        named: the run.json's ``format``; None or ``auto`` looks for itself.

    Raises:
        DataError: the folder is in no format that is known.
        SettingsError: ``named`` is no format.
    """
    if named in READERS:
        return named, READERS[named](source)
    if named not in (None, "auto"):
        where = WHERE.replace("source", "format")
        allowed = ", ".join((*READERS, "auto"))
        raise SettingsError(Problem(where, "not a format that airtune reads", value=repr(named), allowed=allowed))
    for name, reader in READERS.items():
        if reader.recognises(source):
            return name, reader(source)
    raise _unknown(source)


def _unknown(source: Source) -> DataError:
    suffixes = Counter(PurePosixPath(key).suffix.lower() or "no suffix" for key in source.keys)
    found = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(6))
    folders: dict[str, list[str]] = {}
    for key in source.keys:
        folder, _, rest = key.partition("/")
        if rest:
            folders.setdefault(folder, []).append(rest)
    below = sorted(folder for folder, keys in folders.items() if looks_like_vi(keys))
    return DataError(
        Problem(
            WHERE,
            f"no annotations in a format that airtune reads; there are {found}"
            + (f" in the folders {', '.join(sorted(folders)[:6])}" if folders else ""),
            value=source.uri,
            allowed="a Vi export (training/ and validation/, or dump/, each with images/ and annotations/), or chat "
            "JSONL (messages and images)",
            fix=f"name {source.uri}/{below[0]}" if below else "see docs/datasets.md for what each looks like",
        )
    )
