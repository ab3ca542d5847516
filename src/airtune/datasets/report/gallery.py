"""Samples with their pictures: a few that are used, and those that are set aside."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from airtune.datasets.aside import ROWS_KEPT, Aside
from airtune.datasets.draft import REMEDIES, SetAside
from airtune.datasets.record import SPLITS, Record
from airtune.datasets.record_table import RecordTable
from airtune.datasets.report.pictures import BoxDrawn, Pictures, Thumbnail, boxes_on
from airtune.datasets.report.wording import visible

SAMPLES_SHOWN: Final = 8
"""Of each split."""

PICTURES_SHOWN: Final = 6
"""Of each reason."""

_LONGEST_TEXT: Final = 400
_WITHOUT_PICTURE: Final = ("image-", "video", "annotation-outside")
"""Reasons for which there is no picture that could be shown."""


@dataclass(frozen=True, slots=True)
class Card:
    """A sample that is used, as the page shows it."""

    id: str
    split: str
    place: str
    prompt: str
    target: str
    pictures: tuple[Thumbnail, ...]
    boxes: tuple[BoxDrawn, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A sample that is set aside, as the page shows it."""

    place: str
    images: str
    message: str
    picture: Thumbnail | None


@dataclass(frozen=True, slots=True)
class Reason:
    """All samples that are set aside for one reason."""

    name: str
    remedy: str
    count: int
    rows: tuple[Row, ...]


def chosen(records: RecordTable, most: int) -> list[Record]:
    """Some samples of each split, drawn by content: the same dataset shows the same samples."""
    drawn: list[int] = []
    begin = 0
    for split in SPLITS:
        ids = records.columns("id", split=split)["id"].to_pylist()
        ranked = heapq.nsmallest(most, ((hashlib.sha256(name.encode()).digest(), row) for row, name in enumerate(ids)))
        drawn += [begin + row for _, row in ranked]
        begin += len(ids)  # the splits lie one behind the other
    return records.rows(drawn)


def cards(records: RecordTable, pictures: Pictures) -> list[Card]:
    """Some samples of each split."""
    return [_card(record, pictures) for record in chosen(records, SAMPLES_SHOWN)]


def reasons(aside: Aside, pictures: Pictures, most: int = ROWS_KEPT) -> list[Reason]:
    """The samples that are set aside, by reason, the most frequent first."""
    return [
        Reason(name, REMEDIES[name], count, tuple(_rows(aside.first[name][:most], pictures)))
        for name, count in aside.by_reason.items()
    ]


def _rows(found: Sequence[SetAside], pictures: Pictures) -> list[Row]:
    rows: list[Row] = []
    shown = 0
    for row in found:
        picture = None
        if shown < PICTURES_SHOWN and row.images and not row.reason.startswith(_WITHOUT_PICTURE):
            picture = pictures.of(row.images[0])
            shown += picture is not None
        names = ", ".join(row.images[:3])
        rows.append(Row(visible(row.place, 200), visible(names, 300), visible(row.message, _LONGEST_TEXT), picture))
    return rows


def _card(record: Record, pictures: Pictures) -> Card:
    shown = pictures.of_record(record)
    return Card(
        id=record.id,
        split=record.split,
        place=visible(f"{record.source_file}:{record.source_line}", 200),
        prompt=visible(record.prompt, _LONGEST_TEXT),
        target=visible(record.target, _LONGEST_TEXT),
        pictures=tuple(shown),
        boxes=boxes_on(shown[0], record.truth) if shown else (),
    )
