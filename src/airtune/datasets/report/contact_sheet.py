"""A contact sheet: samples side by side in one PNG, their boxes drawn, question and answer below."""

from __future__ import annotations

import io
import json
import math
import textwrap
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFont, ImageOps

from airtune.datasets.pictures.images import Images
from airtune.datasets.pictures.videos import Film
from airtune.datasets.preview import Seen
from airtune.datasets.record import Record
from airtune.datasets.record_batch import answer_of
from airtune.datasets.report.pictures import MOST_BOXES, labelled_boxes
from airtune.datasets.report.wording import visible
from airtune.errors import AirtuneError
from airtune.runspec.answers import COORDINATE_RANGE

CELL: Final = (320, 240)
"""Pixels of the place for a picture."""

_MARGIN: Final = 12
_TEXT_HEIGHT: Final = 84
_FONT_SIZE: Final = 13
_LINES: Final = 5
_CHARACTERS: Final = 48
_MOST_COLUMNS: Final = 6
_PAPER, _INK, _SOFT, _GROUND = "#ffffff", "#1c2530", "#56616d", "#e3e7eb"
_COLOURS: Final = ("#e6194b", "#0b7a3b", "#3451d1", "#c25b00", "#8a1fa8", "#007a87", "#9a6324", "#c2188b")
"""Dark enough for white letters on them; one a phrase."""


def contact_sheet(samples: Sequence[Seen], images: Images) -> bytes:
    """The sheet as a PNG file.

    Args:
        samples: at least one.
        images: where their pictures are.
    """
    columns = min(_MOST_COLUMNS, math.ceil(math.sqrt(len(samples))))
    rows = math.ceil(len(samples) / columns)
    width, height = CELL[0] + _MARGIN, CELL[1] + _TEXT_HEIGHT + _MARGIN
    sheet = Image.new("RGB", (columns * width + _MARGIN, rows * height + _MARGIN), _PAPER)
    font = ImageFont.load_default(_FONT_SIZE)
    for number, seen in enumerate(samples):
        left, top = _MARGIN + number % columns * width, _MARGIN + number // columns * height
        _put(sheet, (left, top), seen, images, font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _put(
    sheet: Image.Image,
    corner: tuple[int, int],
    seen: Seen,
    images: Images,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    pen = ImageDraw.Draw(sheet)
    left, top = corner
    pen.rectangle((left, top, left + CELL[0] - 1, top + CELL[1] - 1), fill=_GROUND)
    picture = _picture(seen.record, images)
    if picture is not None:
        small = picture.width <= CELL[0] // 4 and picture.height <= CELL[1] // 4
        fitted = ImageOps.contain(picture, CELL, Image.Resampling.NEAREST if small else Image.Resampling.BICUBIC)
        _draw_boxes(fitted, seen.record.truth, font)
        sheet.paste(fitted, (left + (CELL[0] - fitted.width) // 2, top + (CELL[1] - fitted.height) // 2))
    record = seen.record
    place = visible(f"{seen.side} {record.source_file}:{record.source_line}".strip(), 200)
    lines = [place[-_CHARACTERS:], *_wrapped(record.prompt, 2), *_wrapped(_answer(record), _LINES - 3)]
    for row, line in enumerate(lines[:_LINES]):
        pen.text((left, top + CELL[1] + 4 + row * (_FONT_SIZE + 3)), line, _SOFT if row == 0 else _INK, font)


def _picture(record: Record, images: Images) -> Image.Image | None:
    try:
        film = Film.of(record, images)
        if film is not None:
            return Image.fromarray(film.read([0])[0])
        if not record.images:
            return None
        return images.load(record.images[0], record.image_digests[0])
    except (AirtuneError, OSError):
        return None  # the sheet is about all of them


def _draw_boxes(picture: Image.Image, truth: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> None:
    pen = ImageDraw.Draw(picture)
    colours: dict[str, str] = {}
    across, down = picture.width / COORDINATE_RANGE, picture.height / COORDINATE_RANGE
    for phrase, (x1, y1, x2, y2) in labelled_boxes(truth)[:MOST_BOXES]:
        colour = colours.setdefault(phrase, _COLOURS[len(colours) % len(_COLOURS)])
        left, top = x1 * across, y1 * down
        pen.rectangle((left, top, max(left, x2 * across - 1), max(top, y2 * down - 1)), outline=colour, width=2)
        label = visible(phrase, 24)
        pen.rectangle(pen.textbbox((left + 2, top), label, font), fill=colour)
        pen.text((left + 2, top), label, "#ffffff", font)


def _answer(record: Record) -> str:
    """What is answered, without the JSON around it."""
    truth = json.loads(record.truth)
    return answer_of(truth) or str(truth["sentence"])


def _wrapped(text: str, most: int) -> list[str]:
    lines = textwrap.wrap(visible(" ".join(text.split()), 400), _CHARACTERS, max_lines=most, placeholder=" …")
    return lines or [""]
