"""Samples with their pictures: a few that are used, and those that are set aside."""

from __future__ import annotations

import base64
import hashlib
import heapq
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image

from airtune.datasets.aside import ROWS_KEPT, Aside
from airtune.datasets.decoding import UnusableImageError
from airtune.datasets.draft import REMEDIES, SetAside
from airtune.datasets.images import Images
from airtune.datasets.record import SPLITS, Record
from airtune.datasets.record_table import RecordTable
from airtune.datasets.videos import Film
from airtune.runspec.answers import COORDINATE_RANGE

LONGEST_SIDE: Final = 240
SAMPLES_SHOWN: Final = 8
"""Of each split."""

ROWS_SHOWN: Final = ROWS_KEPT
"""Of each reason; ``dataset/set-aside.jsonl`` has them all."""

PICTURES_SHOWN: Final = 6
"""Of each reason."""

_LONGEST_TEXT: Final = 400


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class BoxDrawn:
    """A box in the pixels of its thumbnail."""

    x: float
    y: float
    width: float
    height: float
    label: str


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


def cards(records: RecordTable, images: Images) -> list[Card]:
    """Some samples of each split, drawn by content: the same dataset shows the same samples."""
    drawn: list[int] = []
    begin = 0
    for split in SPLITS:
        ids = records.columns("id", split=split)["id"].to_pylist()
        order = heapq.nsmallest(SAMPLES_SHOWN, range(len(ids)), key=lambda n: hashlib.sha256(ids[n].encode()).digest())
        drawn += [begin + number for number in order]
        begin += len(ids)  # the splits lie one behind the other
    return [_card(record, images) for record in records.rows(drawn)]


def reasons(aside: Aside, images: Images) -> list[Reason]:
    """The samples that are set aside, by reason, the most frequent first."""
    return [
        Reason(name, REMEDIES[name], count, tuple(_rows(aside.first[name][:ROWS_SHOWN], images)))
        for name, count in aside.by_reason.items()
    ]


def _rows(found: Sequence[SetAside], images: Images) -> list[Row]:
    rows, pictures = [], 0
    for row in found:
        picture = None
        if pictures < PICTURES_SHOWN and row.images and not row.reason.startswith("image-") and row.reason != "video":
            picture = _thumbnail(images, row.images[0])
            pictures += picture is not None
        rows.append(Row(str(row.place), ", ".join(row.images[:3]), row.message, picture))
    return rows


def _card(record: Record, images: Images) -> Card:
    pictures = [
        _thumbnail(images, key, digest) for key, digest in zip(record.images[:4], record.image_digests, strict=False)
    ]
    film = Film.of(record, images)
    if film is not None:
        pictures = [_first_frame(film)]
    boxes: list[BoxDrawn] = []
    if pictures and (first := pictures[0]):
        boxes = [
            BoxDrawn(
                x1 * first.width / COORDINATE_RANGE,
                y1 * first.height / COORDINATE_RANGE,
                (x2 - x1) * first.width / COORDINATE_RANGE,
                (y2 - y1) * first.height / COORDINATE_RANGE,
                str(item["phrase"]),
            )
            for item in json.loads(record.truth).get("groundings", ())
            for x1, y1, x2, y2 in item["boxes"]
        ]
    return Card(
        id=record.id,
        split=record.split,
        place=f"{record.source_file}:{record.source_line}",
        prompt=_cut(record.prompt),
        target=_cut(record.target),
        pictures=tuple(picture for picture in pictures if picture),
        boxes=tuple(boxes[:50]),
    )


def _thumbnail(images: Images, key: str, digest: str | None = None) -> Thumbnail | None:
    try:
        picture = images.load(key, digest)
    except UnusableImageError:
        return None
    return _small(picture)


def _first_frame(film: Film) -> Thumbnail | None:
    try:
        return _small(Image.fromarray(film.read([0])[0]))
    except UnusableImageError:
        return None


def _small(picture: Image.Image) -> Thumbnail:
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=75)
    return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", *picture.size)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
