"""Distributions, as numbers that the template draws in SVG."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from airtune.datasets.record_batch import answer_of
from airtune.datasets.record_table import RecordTable
from airtune.runspec.answers import COORDINATE_RANGE

_BINS: Final = 20
_MOST_BARS: Final = 20
_CELLS: Final = 16
_LONGEST_LABEL: Final = 42


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what it stands for, how many, and its length relative to the longest (0..1)."""

    label: str
    count: int
    length: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """Bars under a title; ``more`` says in words what is not shown."""

    title: str
    bars: tuple[Bar, ...]
    more: str = ""


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Where boxes lie: rows of cells, each with the share (0..1) of the fullest cell."""

    title: str
    cells: tuple[tuple[float, ...], ...]


def distributions(records: RecordTable) -> list[Distribution]:
    """The charts of a dataset: answers or phrases, lengths, image sizes, box sizes."""
    rows = list(records.batches(["truth", "prompt", "width", "height"]))
    truths = [json.loads(truth) for batch in rows for truth in batch["truth"].to_pylist()]
    answers = [answer for truth in truths if (answer := answer_of(truth)) is not None]
    groundings = [item for truth in truths for item in truth.get("groundings", ())]
    areas = [_area(box) for item in groundings for box in item["boxes"]]
    charts = [
        most_frequent("Answers", answers),
        most_frequent("Phrases", (item["phrase"] for item in groundings)),
        most_frequent("Texts of the user", (text for batch in rows for text in batch["prompt"].to_pylist())),
        histogram("Answer length in characters", [len(answer) for answer in answers]),
        histogram(
            "Boxes in a sample",
            [sum(len(item["boxes"]) for item in t["groundings"]) for t in truths if "groundings" in t],
        ),
        histogram("Box size, % of the image", areas),
        histogram("Image width in pixels", [size for batch in rows for size in batch["width"].to_pylist() if size]),
        histogram("Image height in pixels", [size for batch in rows for size in batch["height"].to_pylist() if size]),
    ]
    return [chart for chart in charts if chart.bars]


def most_frequent(title: str, values: Iterable[str]) -> Distribution:
    """The most frequent values, each a bar."""
    counts = Counter(values)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = ranked[:_MOST_BARS], ranked[_MOST_BARS:]
    most = shown[0][1] if shown else 1
    more = f"{len(rest):,} more, {sum(count for _, count in rest):,} times in all" if rest else ""
    return Distribution(title, tuple(Bar(_cut(value), count, count / most) for value, count in shown), more)


def histogram(title: str, values: Sequence[float]) -> Distribution:
    """The values in up to 20 bins of equal width; whole numbers get bins of whole numbers."""
    if not values:
        return Distribution(title, ())
    low, high = min(values), max(values)
    whole = all(float(value).is_integer() for value in values)
    width = (high - low) / _BINS
    if whole:
        width = max(1.0, math.ceil((high - low + 1) / _BINS))
    counts = Counter(min(int((value - low) / width), _BINS - 1) if width else 0 for value in values)
    most = max(counts.values())
    bars = []
    for index in range(max(counts) + 1):
        start, end = low + index * width, low + (index + 1) * width
        if whole:
            label = f"{start:,.0f}" if width == 1 else f"{start:,.0f} to {end - 1:,.0f}"
        else:
            label = f"{start:.3g} to {end:.3g}"
        bars.append(Bar(label, counts[index], counts[index] / most))
    return Distribution(title, tuple(bars))


def box_places(records: RecordTable) -> HeatMap | None:
    """How often each part of the image is inside a box; None without boxes."""
    cells = [[0] * _CELLS for _ in range(_CELLS)]
    unit = COORDINATE_RANGE / _CELLS
    for batch in records.batches(["truth"]):
        for item in (item for truth in batch["truth"].to_pylist() for item in json.loads(truth).get("groundings", ())):
            for x1, y1, x2, y2 in item["boxes"]:
                for row in range(int(y1 // unit), math.ceil(y2 / unit)):
                    for column in range(int(x1 // unit), math.ceil(x2 / unit)):
                        cells[row][column] += 1
    most = max(map(max, cells))
    if not most:
        return None
    return HeatMap("Where boxes lie", tuple(tuple(count / most for count in row) for row in cells))


def _area(box: Sequence[int]) -> float:
    return 100 * (box[2] - box[0]) * (box[3] - box[1]) / COORDINATE_RANGE**2


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_LABEL else line[: _LONGEST_LABEL - 1] + "…"
