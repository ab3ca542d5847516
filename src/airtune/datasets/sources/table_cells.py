"""The names of pictures that lie in the cells of tables, as the Hugging Face hub ships them.

Such a picture has a key like every image: ``data/train-0.parquet#000017/image``, the file, the row (counted from 0) and
the column; and where the column holds lists, the place in the list: ``…#000017/images/1``.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

TABLES: Final = (".parquet", ".arrow")
"""How the names of tables end."""

_KEY: Final = re.compile(
    r"(?P<file>[^#]+\.(?:parquet|arrow))#(?P<row>\d{6,12})/(?P<column>[^/]+)(?:/(?P<place>\d{1,9}))?"
)


class Cell(NamedTuple):
    """One picture of a table.

    Attributes:
        file: key of the table.
        row: counted from 0.
        column: its name.
        place: in the cell's list, counted from 0; None where the cell is the picture.
    """

    file: str
    row: int
    column: str
    place: int | None = None

    @property
    def key(self) -> str:
        """What an annotation calls it; keys of one table sort as its rows."""
        key = f"{self.file}#{self.row:06}/{self.column}"
        return key if self.place is None else f"{key}/{self.place}"


def cell_of(key: str) -> Cell | None:
    """The picture that a key names; None where it names a file of its own."""
    match = _KEY.fullmatch(key) if "#" in key else None
    if match is None:
        return None
    place = match["place"]
    return Cell(match["file"], int(match["row"]), match["column"], int(place) if place is not None else None)
