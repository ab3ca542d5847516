"""Boxes: from what annotations hold to integers from 0 to 1024 on each axis."""

from __future__ import annotations

import math
from typing import Final

from airtune.datasets.draft import Reject, short
from airtune.runspec.answers import COORDINATE_RANGE

Box = list[int]

_SLACK: Final = 1e-3
"""How far a bound may leave 0..1 and still be taken for rounding: one part in a thousand of the image."""

_SURELY_PIXELS: Final = 1.5
"""Beyond it a bound cannot be a box that sticks out of its image: it was written in pixels."""

_CORNERS: Final = 4


def boxes_of(bounds: object, size: tuple[int, int] | None = None) -> list[Box]:
    """The boxes of one phrase.

    Args:
        bounds: a list of boxes with fractions of the image, each ``[xmin, ymin, xmax, ymax]`` or four ``[x, y]``
            corners in any order; one box alone, in either form, is taken too.
        size: the image's width and height in pixels, to name in messages.

    Returns:
        At least one ``[xmin, ymin, xmax, ymax]`` in 0..1024, with ``xmin < xmax`` and ``ymin < ymax``.

    Raises:
        Reject: not such a list, or a box that is in pixels, outside, inverted or empty.
    """
    if not isinstance(bounds, list):
        raise Reject("box-shape", f"bounds is not a list: {short(bounds)}")
    if not bounds:
        raise Reject("box-empty", "the phrase has no box")
    if all(_is_number(value) for value in bounds) or _are_corners(bounds):
        bounds = [bounds]
    return [_box(box, size) for box in bounds]


def _box(box: object, size: tuple[int, int] | None) -> Box:
    if not isinstance(box, list) or len(box) != _CORNERS:
        raise Reject("box-shape", f"not a box: {short(box)}")
    if _are_corners(box):
        xs, ys = [float(x) for x, _ in box], [float(y) for _, y in box]
        left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    elif all(_is_number(value) for value in box):
        left, top, right, bottom = (float(value) for value in box)
    else:
        raise Reject("box-shape", f"not a box of four numbers: {short(box)}")
    edges = (left, top, right, bottom)
    if not all(math.isfinite(edge) for edge in edges):
        raise Reject("box-shape", f"a bound is not a finite number: {short(box)}")
    if any(abs(edge) > _SURELY_PIXELS for edge in edges):
        of = f" of an image of {size[0]} x {size[1]}" if size else ""
        raise Reject("box-in-pixels", f"bounds are fractions from 0 to 1, and these look like pixels{of}: {short(box)}")
    if any(not -_SLACK <= edge <= 1 + _SLACK for edge in edges):
        raise Reject("box-outside", f"the box leaves the image: {short(box)}")
    if left > right or top > bottom:
        raise Reject("box-inverted", f"the box is inverted: {short(box)}")
    if left == right or top == bottom:
        raise Reject("box-empty", f"the box has no area: {short(box)}")
    (x1, x2), (y1, y2) = _scaled(left, right), _scaled(top, bottom)
    return [x1, y1, x2, y2]


def _scaled(low: float, high: float) -> tuple[int, int]:
    first, last = (round(min(1.0, max(0.0, edge)) * COORDINATE_RANGE) for edge in (low, high))
    if first == last:  # thinner than one unit, but not nothing
        first = min(first, COORDINATE_RANGE - 1)
        last = first + 1
    return first, last


def _is_number(value: object) -> bool:
    # An integer of a thousand digits is JSON as well, and no float.
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**53)


def _are_corners(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == _CORNERS
        and all(isinstance(point, list) and len(point) == 2 and all(map(_is_number, point)) for point in value)
    )
