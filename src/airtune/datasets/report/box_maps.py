"""All boxes of a dataset as arrays: how large they are, and where they lie, as maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airtune.datasets.record_batch import Batch, text_numbers
from airtune.datasets.report.charts import HeatMap, heat
from airtune.runspec.answers import COORDINATE_RANGE

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Numbers = np.ndarray[Any, Any]

_CELLS: Final = 16
_NAMES: Final = (("left", "middle", "right"), ("top", "middle", "bottom"))


@dataclass(frozen=True, slots=True)
class BoxList:
    """All boxes and phrases of some samples.

    Attributes:
        boxes: (boxes, 4) integers ``[x1, y1, x2, y2]`` in 0..1024.
        rows: of each box, its sample's place among those samples.
        phrases: a number for each phrase; equal phrases have equal numbers.
        phrase_rows: of each phrase, its sample's place.
        phrase_places: of each phrase, its place in its sample.
    """

    boxes: Numbers
    rows: Numbers
    phrases: Numbers
    phrase_rows: Numbers
    phrase_places: Numbers

    @classmethod
    def of(cls, batches: Iterable[pa.RecordBatch]) -> BoxList:
        """Collects them from records with their field ``truth``."""
        import numpy as np
        import pyarrow as pa

        boxes: list[Numbers] = []
        rows: list[Numbers] = []
        phrases: list[Numbers] = []
        phrase_rows: list[Numbers] = []
        places: list[Numbers] = []
        begin = 0
        for batch in map(Batch, batches):
            found, here = batch.groundings, np.arange(begin, begin + len(batch))
            if found.texts:
                boxes.append(found.edges)
                rows.append(np.repeat(here, found.boxes))
                phrases.append(text_numbers(pa.array(found.texts, pa.string())))
                phrase_rows.append(np.repeat(here, found.phrases))
                starts = np.cumsum(found.phrases) - found.phrases
                places.append(np.arange(len(found.texts)) - np.repeat(starts, found.phrases))
            begin += len(batch)
        if not boxes:
            none = np.zeros(0, dtype=np.int64)
            return cls(np.zeros((0, 4), dtype=np.int16), none, none, none, none)
        return cls(*(np.concatenate(parts) for parts in (boxes, rows, phrases, phrase_rows, places)))

    @property
    def sides(self) -> Numbers:
        """(boxes, 2): width and height of each, as a share of the picture's."""
        edges = self.boxes.astype(float)
        return (edges[:, 2:] - edges[:, :2]) / COORDINATE_RANGE  # type: ignore[no-any-return]

    @property
    def areas(self) -> Numbers:
        """The share of the picture that each box covers, 0 to 1."""
        return self.sides.prod(axis=1)  # type: ignore[no-any-return]

    def maps(self) -> tuple[HeatMap, ...]:
        """Where the boxes lie, and how wide and high they are; nothing without boxes."""
        return (self._places(), self._sizes()) if len(self.boxes) else ()

    def _places(self) -> HeatMap:
        """How many boxes cover each cell, by adding every box at its corners and summing up."""
        import numpy as np

        unit = COORDINATE_RANGE // _CELLS
        x1, y1, x2, y2 = self.boxes.astype(np.int64).T
        left, top, right, bottom = x1 // unit, y1 // unit, -(-x2 // unit), -(-y2 // unit)
        corners = np.zeros((_CELLS + 1, _CELLS + 1), dtype=np.int64)
        for down, across, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
            np.add.at(corners, (down, across), sign)
        cells = corners.cumsum(axis=0).cumsum(axis=1)[:_CELLS, :_CELLS]
        middle = (self.boxes[:, :2] + self.boxes[:, 2:].astype(np.int64)) / 2 / COORDINATE_RANGE
        thirds = np.minimum((middle * 3).astype(np.int64), 2)
        counts = np.bincount(thirds[:, 1] * 3 + thirds[:, 0], minlength=9)
        down, across = divmod(int(counts.argmax()), 3)
        words = (
            f"Most boxes ({counts.max() / len(self.boxes):.0%}) have their middle in the {_NAMES[1][down]} "
            f"{_NAMES[0][across]} ninth of the picture; the emptiest ninth has {counts.min() / len(self.boxes):.1%}."
        )
        return heat(cells, title="Where boxes lie", words=words, across="left to right", down="top to bottom")

    def _sizes(self) -> HeatMap:
        import numpy as np

        sides = self.sides
        places = np.minimum((sides * _CELLS).astype(np.int64), _CELLS - 1)
        cells = np.zeros((_CELLS, _CELLS), dtype=np.int64)
        np.add.at(cells, (places[:, 1], places[:, 0]), 1)
        width, height = np.median(sides, axis=0)
        small = float((self.areas < 0.01).mean())
        words = (
            f"Half of the boxes are narrower than {width:.1%} of the picture and half are lower than {height:.1%}; "
            f"{small:.0%} cover less than a hundredth of it."
        )
        return heat(cells, title="How large boxes are", words=words, across="narrow to wide", down="low to high")
