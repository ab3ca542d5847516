"""Which column of a CSV file holds what: by its first line, or by the order that files without one keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from airtune.datasets.draft import Reject, short
from airtune.datasets.readers.objects import number
from airtune.datasets.readers.places import is_image
from airtune.datasets.readers.splits import named_split
from airtune.datasets.record import Split

_NAMES: Final = {
    "file": ("filename", "file", "image", "imagename", "imagepath", "imagefile", "path", "filepath", "img", "imageid"),
    "label": ("class", "label", "name", "category", "classname", "labelname", "categoryname", "object"),
    "xmin": ("xmin", "x1", "left", "minx", "bboxxmin"),
    "ymin": ("ymin", "y1", "top", "miny", "bboxymin"),
    "xmax": ("xmax", "x2", "right", "maxx", "bboxxmax"),
    "ymax": ("ymax", "y2", "bottom", "maxy", "bboxymax"),
    "x": ("x", "bboxx", "boxx"),
    "y": ("y", "bboxy", "boxy"),
    "width": ("width", "w", "bboxwidth", "bboxw", "boxwidth"),
    "height": ("height", "h", "bboxheight", "bboxh", "boxheight"),
    "image_width": ("imagewidth", "imgwidth", "imgw", "imagew"),
    "image_height": ("imageheight", "imgheight", "imgh", "imageh"),
    "split": ("split", "set", "subset", "usage"),
}
_MEANS: Final = {name: meaning for meaning, names in _NAMES.items() for name in names}
_CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")
_EXTENT: Final = ("x", "y", "width", "height")
_SIX: Final = 6
_DELIMITERS: Final = ",;\t"


@dataclass(frozen=True, slots=True)
class Columns:
    """The places of the columns, counted from 0.

    Attributes:
        delimiter: what parts them.
        named: whether the first line names them.
        file: the image's name.
        label: the class.
        numbers: the four of the box.
        corners: whether these are xmin, ymin, xmax, ymax; otherwise x, y, width, height.
        sides: the image's width and height, if they are there.
        usage: the split, if it is there.
    """

    delimiter: str
    named: bool
    file: int
    label: int
    numbers: tuple[int, ...]
    corners: bool
    sides: tuple[int, int] | None = None
    usage: int | None = None

    @property
    def last(self) -> int:
        """The last of those that a box needs."""
        return max(self.file, self.label, *self.numbers)

    def size(self, row: Sequence[str]) -> tuple[int, int] | Reject | None:
        """The image's width and height as the line states them, None where it does not, or what is wrong with them."""
        if self.sides is None or len(row) <= max(self.sides):
            return None
        texts = [row[place].strip() for place in self.sides]
        if not any(texts):
            return None
        values = [number(text) for text in texts]
        width, height = (int(value) if value is not None and value.is_integer() else 0 for value in values)
        if width == height == 0 and all(value == 0 for value in values):
            return None
        if width <= 0 or height <= 0:
            return Reject("annotation-shape", f"the image's width and height are not whole pixels: {short(texts)}")
        return width, height

    def split(self, row: Sequence[str]) -> Split | None:
        """The split that the line names; a test split is for validation."""
        if self.usage is None or len(row) <= self.usage:
            return None
        split = named_split(row[self.usage].strip())
        return "validation" if split == "test" else split


def delimiter_of(line: str) -> str:
    """What parts the columns of a line: the most frequent of comma, semicolon and tab."""
    return max(_DELIMITERS, key=line.count)


def columns_of(row: Sequence[str], delimiter: str) -> Columns | None:
    """The columns by the file's first line; None where these are not the columns of boxes.

    Args:
        row: the first line's cells: names of columns, or the first box of a file that names none.
        delimiter: what parted them.
    """
    places: dict[str, int] = {}
    for place, cell in enumerate(row):
        meaning = _MEANS.get("".join(letter for letter in cell.casefold() if letter.isalnum()))
        if meaning is not None:
            places.setdefault(meaning, place)
    if {"file", "label"} <= places.keys():
        return _named(places, delimiter)
    if len(row) == _SIX and _is_box(row):
        return Columns(delimiter, False, 0, 5, (1, 2, 3, 4), corners=True)
    return None


def _named(places: Mapping[str, int], delimiter: str) -> Columns | None:
    corners = all(name in places for name in _CORNERS)
    if not corners and not all(name in places for name in _EXTENT):
        return None
    of_image = [("image_width", "image_height"), *([("width", "height")] if corners else [])]
    sides = next(((places[w], places[h]) for w, h in of_image if w in places and h in places), None)
    return Columns(
        delimiter,
        True,
        places["file"],
        places["label"],
        tuple(places[name] for name in (_CORNERS if corners else _EXTENT)),
        corners,
        sides,
        places.get("split"),
    )


def _is_box(row: Sequence[str]) -> bool:
    name, *numbers, label = (cell.strip() for cell in row)
    if not is_image(name):
        return False
    return all(number(text) is not None for text in numbers) or not any((*numbers, label))
