"""Curves as SVG: the geometry only; the template draws it, so that everything is escaped in one place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 28
_MOST_POINTS: Final = 300

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve.

    Attributes:
        name: for the legend.
        style: the CSS class that gives its colour and dashes.
        points: (step, value); values that are not finite are left out.
    """

    name: str
    style: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Line:
    """A curve in the picture's units: ``path`` for a polyline, and its last value for the legend."""

    name: str
    style: str
    path: str
    marks: tuple[Point, ...]
    last: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the grid: where it is in the picture, and what stands beside it."""

    position: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws, in a view box of ``width`` x ``height``."""

    title: str
    description: str
    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def chart(title: str, curves: Sequence[Curve]) -> Chart | None:
    """Lays out curves over the training steps; None when no curve has a point."""
    finite = [
        Curve(curve.name, curve.style, [point for point in curve.points if all(map(math.isfinite, point))])
        for curve in curves
    ]
    drawn = [curve for curve in finite if curve.points]
    if not drawn:
        return None
    steps = [step for curve in drawn for step, _ in curve.points]
    values = [value for curve in drawn for _, value in curve.points]
    across = _ticks(min(steps), max(steps), 8)
    up = _ticks(min(0.0, *values), max(values), 5)
    low, high = (min(steps), max(steps)) if max(steps) > min(steps) else (min(steps) - 1, max(steps) + 1)
    floor, ceiling = up[0], max(up[-1], max(values))
    if ceiling == floor:
        ceiling = floor + 1

    def x(step: float) -> float:
        return round(_LEFT + (step - low) / (high - low) * (WIDTH - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - _BOTTOM - (value - floor) / (ceiling - floor) * (HEIGHT - _TOP - _BOTTOM), 1)

    lines = []
    for curve in drawn:
        placed = [(x(step), y(value)) for step, value in _thinned(curve.points)]
        path = " ".join(f"{across_:g},{up_:g}" for across_, up_ in placed)
        marks = tuple(placed) if len(placed) <= 30 else ()
        lines.append(Line(curve.name, curve.style, path, marks, f"{curve.points[-1][1]:.4g}"))
    description = "; ".join(
        f"{curve.name} from {curve.points[0][1]:.4g} at step {curve.points[0][0]:g} "
        f"to {curve.points[-1][1]:.4g} at step {curve.points[-1][0]:g}"
        for curve in drawn
    )
    return Chart(
        title,
        description,
        tuple(lines),
        tuple(Tick(x(step), f"{step:g}") for step in across if low <= step <= high),
        tuple(Tick(y(value), f"{value:g}") for value in up),
    )


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most :data:`_MOST_POINTS` points; of each stretch its lowest and highest, so that no spike is lost."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    stretches = _MOST_POINTS // 2
    kept: list[Point] = []
    for index in range(stretches):
        stretch = points[index * len(points) // stretches : (index + 1) * len(points) // stretches]
        extremes = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept.extend(sorted(extremes))
    return kept


def _ticks(low: float, high: float, wanted: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from at or below ``low`` to at or above ``high``."""
    if high <= low:
        return [low, low + (abs(low) or 1.0)]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    width = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / width + 1e-9), math.ceil(high / width - 1e-9)
    return [float(f"{index * width:.12g}") for index in range(first, last + 1)]
