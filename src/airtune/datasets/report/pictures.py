"""Pictures small enough to stand in a page, and no more of them than the page may hold."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from PIL import Image

from airtune.datasets.pictures.decoding import UnusableImageError
from airtune.datasets.pictures.images import Images
from airtune.datasets.pictures.videos import Film
from airtune.datasets.record import Record
from airtune.errors import AirtuneError
from airtune.runspec.answers import COORDINATE_RANGE

LONGEST_SIDE: Final = 240
"""Pixels; smaller pictures are enlarged to it by the browser, without smoothing."""

MOST_BOXES: Final = 50
_AS_IT_IS: Final = 96
_LONGEST_LABEL: Final = 60


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture as a data URI.

    Attributes:
        uri: ``data:image/…;base64,…``.
        width: in the page's pixels.
        height: likewise.
        small: whether it is shown larger than it is.
    """

    uri: str
    width: int
    height: int
    small: bool


@dataclass(frozen=True, slots=True)
class BoxDrawn:
    """A box in the pixels of its thumbnail."""

    x: float
    y: float
    width: float
    height: float
    label: str


class Pictures:
    """Makes thumbnails until there is no room left.

    Args:
        images: where the pictures are.
        room: bytes that all of them may take in the page.
        side: pixels of a thumbnail's longer side.
    """

    def __init__(self, images: Images, room: int, side: int = LONGEST_SIDE) -> None:
        self._images = images
        self._side = side
        self.room = room

    def of(self, key: str, digest: str | None = None) -> Thumbnail | None:
        """One image; None where it cannot be shown, or no more fit."""
        if self.room <= 0:
            return None
        try:
            return self._taken(self._images.load(key, digest))
        except (
            AirtuneError,
            OSError,
        ):  # the page is about the data: a picture that went away is no reason to have none
            return None

    def of_record(self, record: Record, most: int = 4) -> list[Thumbnail]:
        """The images of a sample, or the first frame of its video."""
        film = Film.of(record, self._images)
        if film is not None:
            found = [self._frame(film)]
        else:
            pairs = zip(record.images[:most], record.image_digests, strict=False)
            found = [self.of(key, digest) for key, digest in pairs]
        return [picture for picture in found if picture is not None]

    def _frame(self, film: Film) -> Thumbnail | None:
        if self.room <= 0:
            return None
        try:
            return self._taken(Image.fromarray(film.read([0])[0]))
        except UnusableImageError:
            return None

    def _taken(self, picture: Image.Image) -> Thumbnail | None:
        made = thumbnail(picture, self._side)
        if len(made.uri) > self.room:
            self.room = 0
            return None
        self.room -= len(made.uri)
        return made


def thumbnail(picture: Image.Image, side: int = LONGEST_SIDE) -> Thumbnail:
    """A copy of an RGB picture, ``side`` pixels long: small ones without loss (PNG), the others as JPEG."""
    small = max(picture.size) <= _AS_IT_IS
    copy = picture.copy()
    if not small:
        copy.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    buffer = io.BytesIO()
    if small:
        copy.save(buffer, "PNG", optimize=True)
    else:
        copy.save(buffer, "JPEG", quality=75)
    uri = f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    scale = side / max(copy.size) if small else 1.0
    width, height = (max(1, round(length * scale)) for length in copy.size)
    return Thumbnail(uri, width, height, small)


def boxes_on(picture: Thumbnail, truth: str) -> tuple[BoxDrawn, ...]:
    """The boxes of a sample's answer, in the pixels of its picture."""
    across, down = picture.width / COORDINATE_RANGE, picture.height / COORDINATE_RANGE
    return tuple(
        BoxDrawn(x1 * across, y1 * down, (x2 - x1) * across, (y2 - y1) * down, label[:_LONGEST_LABEL])
        for label, (x1, y1, x2, y2) in labelled_boxes(truth)[:MOST_BOXES]
    )


def labelled_boxes(truth: str) -> list[tuple[str, list[int]]]:
    """Every box of a truth with its phrase."""
    groundings: Iterable[dict[str, object]] = json.loads(truth).get("groundings", ())
    return [(str(item["phrase"]), box) for item in groundings for box in item["boxes"]]  # type: ignore[attr-defined]
