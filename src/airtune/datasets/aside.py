"""What is set aside, on disk: ``dataset/set-aside.jsonl`` with its counts and the first rows of every reason."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from airtune.datasets.draft import NO_FAULT, Place, SetAside

if TYPE_CHECKING:
    from types import TracebackType

ROWS_KEPT: Final = 20
"""Of each reason, to be shown; the file has them all."""

_MOST_KINDS: Final = 1000


class Aside:
    """The samples that are not used, in the order in which they were found.

    Attributes:
        path: the file, one JSON object a line; see :meth:`airtune.datasets.draft.SetAside.to_json`.
        counts: samples by reason and split (``train``, ``validation``, or None where the dataset leaves it open).
        first: of each reason the first rows (up to :data:`ROWS_KEPT`).
        other_tasks: how often each message of the reason ``other-task`` was given.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: Counter[tuple[str, str | None]] = Counter()
        self.first: defaultdict[str, list[SetAside]] = defaultdict(list)
        self.other_tasks: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many samples there are."""
        return self.counts.total()

    def __iter__(self) -> Iterator[SetAside]:
        """All of them, read from the file."""
        with self.path.open("rb") as lines:
            for line in lines:
                row = json.loads(line)
                place = Place(file=row["source_file"], line=row["source_line"], index=row["sample"], split=row["split"])
                yield SetAside(place=place, reason=row["reason"], message=row["message"], images=tuple(row["images"]))

    @property
    def by_reason(self) -> dict[str, int]:
        """How many samples each reason has, the most frequent reason first."""
        counts: Counter[str] = Counter()
        for (reason, _), count in self.counts.items():
            counts[reason] += count
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def faults(self) -> int:
        """How many are set aside for a reason that speaks against the dataset."""
        return sum(count for reason, count in self.by_reason.items() if reason not in NO_FAULT)


class AsideWriter:
    """Writes what is set aside as it is found; a context manager that gives the :class:`Aside` in the making.

    Args:
        path: the file, which is written anew.
    """

    def __init__(self, path: Path) -> None:
        self.aside = Aside(path)

    def __enter__(self) -> AsideWriter:
        self.aside.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.aside.path.open("w", encoding="utf-8")
        return self

    def add(self, row: SetAside) -> None:
        """One more sample."""
        aside = self.aside
        aside.counts[row.reason, row.place.split] += 1
        if len(aside.first[row.reason]) < ROWS_KEPT:
            aside.first[row.reason].append(row)
        # There are as many messages as types of contents; but who knows what a dataset holds.
        if row.reason == "other-task" and (row.message in aside.other_tasks or len(aside.other_tasks) < _MOST_KINDS):
            aside.other_tasks[row.message] += 1
        self._file.write(json.dumps(row.to_json(), ensure_ascii=False) + "\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
