"""The page of ``airtune data diff``: what came and went, then every distribution of both datasets over each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from airtune.datasets.comparison.drift import Drift, PropertyDrift
from airtune.datasets.report.rendering import render

_SAMPLES_SHOWN: Final = 20
_HEIGHT: Final = 120
_WIDTH: Final = 420
_ROW: Final = 30
_LONGEST_LABEL: Final = 34
_LONGEST_ANSWER: Final = 300


@dataclass(frozen=True, slots=True)
class Pair:
    """Two bars side by side, of one bin: lengths relative to the longest of the picture (0..1)."""

    label: str
    before: float
    after: float
    words: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Both distributions of a property.

    Attributes:
        drift: the property.
        pairs: its bins.
        upright: numbers are drawn as columns from left to right, categories as bars one below the other.
        width: of the drawing.
        height: likewise.
    """

    drift: PropertyDrift
    pairs: tuple[Pair, ...]
    upright: bool
    width: int
    height: int

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """What both datasets have in numbers: what, before, after."""
        before, after = self.drift.before, self.drift.after
        return [(name.replace("_", " "), f"{before[name]:,.6g}", f"{after[name]:,.6g}") for name in before]


def picture_of(drift: PropertyDrift) -> Picture:
    """The drawing of one property."""
    bins = drift.shift.bins
    longest = max(max(each.before, each.after) for each in bins) or 1.0
    pairs = tuple(
        Pair(_cut(each.label, _LONGEST_LABEL), each.before / longest, each.after / longest,
             f"{each.label}: {each.before:.1%} before, {each.after:.1%} now")
        for each in bins
    )  # fmt: skip
    upright = "median" in drift.before
    return Picture(drift, pairs, upright, _WIDTH, _HEIGHT if upright else _ROW * len(pairs))


def drift_page(drift: Drift) -> str:
    """The page: one HTML file that loads nothing, runs no script, and shows every text of the data as text."""
    pictures = [picture_of(each) for each in drift.properties]
    pictures.sort(key=lambda each: -each.drift.shift.psi)
    changes = drift.changes
    return render(
        "drift.html.j2",
        ("report.css", "drift.css"),
        drift=drift,
        moved=[each for each in pictures if each.drift.level != "none"],
        steady=[each for each in pictures if each.drift.level == "none"],
        changed=[(each.part, _sample(each.before), _sample(each.after)) for each in changes.changes[:_SAMPLES_SHOWN]],
        added=[_sample(each) for each in changes.added_samples[:_SAMPLES_SHOWN]],
        removed=[_sample(each) for each in changes.removed_samples[:_SAMPLES_SHOWN]],
    )


def _sample(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "images": ", ".join(row["images"]),
        "place": f"{row['source_file']}:{row['source_line']}",
        "prompt": _cut(row["prompt"], _LONGEST_ANSWER),
        "answer": _cut(_answer(row["target"]), _LONGEST_ANSWER),
    }


def _answer(target: str) -> str:
    """What the assistant says, without the JSON around it where it is one text."""
    try:
        found = json.loads(target)
    except ValueError:
        return target
    while isinstance(found, dict) and len(found) == 1:
        found = next(iter(found.values()))
    return found if isinstance(found, str) else target


def _cut(text: str, longest: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
