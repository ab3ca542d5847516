"""Charts as numbers, which the template draws: bars for training and validation, and maps of cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airtune.datasets.report.wording import visible

if TYPE_CHECKING:
    import numpy as np

BINS: Final = 20
MOST_BARS: Final = 20
_LONGEST_LABEL: Final = 60


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    Attributes:
        label: what it stands for.
        train: how many in training.
        validation: how many in validation.
        train_length: of its part in the drawing, relative to the longest bar (0..1).
        validation_length: likewise.
    """

    label: str
    train: int
    validation: int
    train_length: float
    validation_length: float

    @property
    def count(self) -> int:
        """How many in all."""
        return self.train + self.validation


@dataclass(frozen=True, slots=True)
class Distribution:
    """Bars under a title.

    Attributes:
        title: what is counted.
        bars: in their order.
        more: in words, what is not shown; may be empty.
    """

    title: str
    bars: tuple[Bar, ...]
    more: str = ""


@dataclass(frozen=True, slots=True)
class HeatMap:
    """How often each part of a square happens.

    Attributes:
        title: what is counted.
        words: the same in a sentence, for those who do not see it.
        across: what the horizontal axis is, from its left to its right end.
        down: what the vertical one is, from top to bottom.
        cells: rows of shares (0..1) of the fullest cell.
    """

    title: str
    words: str
    across: str
    down: str
    cells: tuple[tuple[float, ...], ...]


def bars(rows: Sequence[tuple[str, int, int]]) -> tuple[Bar, ...]:
    """Bars of (label, in training, in validation), scaled to the longest."""
    most = max((train + validation for _, train, validation in rows), default=0) or 1
    return tuple(
        Bar(one_line(label), train, validation, train / most, validation / most) for label, train, validation in rows
    )


def histogram(title: str, values: np.ndarray[Any, Any], validates: np.ndarray[Any, Any]) -> Distribution:
    """The values in up to 20 bins of equal width; whole numbers get bins of whole numbers.

    Args:
        title: what they are.
        values: one number each; those that are not finite are left out.
        validates: whether each is of the validation split.
    """
    import numpy as np

    finite = np.isfinite(values)
    values, validates = values[finite], validates[finite]
    if not len(values):
        return Distribution(title, ())
    low, high = float(values.min()), float(values.max())
    whole = bool((values == np.floor(values)).all())
    width = max(1.0, math.ceil((high - low + 1) / BINS)) if whole else (high - low) / BINS
    places = np.zeros(len(values), dtype=np.int64)
    if width:
        places = np.minimum(((values - low) / width).astype(np.int64), BINS - 1)
    train, validation = (np.bincount(places[side], minlength=places.max() + 1) for side in (~validates, validates))
    labels = [_label(low + index * width, width, whole=whole) for index in range(int(places.max()) + 1)]
    return Distribution(title, bars(list(zip(labels, train.tolist(), validation.tolist(), strict=True))))


def _label(start: float, width: float, *, whole: bool) -> str:
    if not whole:
        return f"{start:.3g} to {start + width:.3g}"
    return f"{start:,.0f}" if width == 1 else f"{start:,.0f} to {start + width - 1:,.0f}"


def heat(cells: np.ndarray[Any, Any], *, title: str, words: str, across: str, down: str) -> HeatMap:
    """A map of counts (rows from top to bottom), scaled to the fullest cell."""
    shares = cells / (cells.max() or 1)
    return HeatMap(title, words, across, down, tuple(tuple(round(float(v), 3) for v in row) for row in shares))


def one_line(text: str) -> str:
    """A text as a label: white space made one space, cut where it is long."""
    return visible(" ".join(text.split()) or "(nothing)", _LONGEST_LABEL)
