"""Boxes: from what annotations hold to integers from 0 to 1024 on each axis, the same from every format.

In two steps. A reader says what stands in the file (:func:`read_boxes` looks at the shape alone), and in which units.
Once the image's size is known, :func:`finish` checks the boxes and puts them on the grid.

Formats write the same box with different digits: Vi as fractions, YOLO as fractions of centre and size with six
decimals, COCO as pixels with one or two. So every coordinate is first taken to the hundredth of a pixel, and to the
whole pixel where it is within five hundredths of it; from there on all is integer arithmetic. The same box then has
the same target, whatever it was written in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

from airtune.datasets.draft import Reject, short
from airtune.runspec.answers import COORDINATE_RANGE

Units = Literal["fraction", "pixel", "grid"]
"""Of the boxes of a draft: 0..1 of the image, pixels of the image that was annotated, or 0..1024 as trained."""

_SLACK: Final = 1e-3
"""How far, in sides of the image, a bound may leave it and still be taken for rounding..."""

_SLACK_PIXELS: Final = 0.5
"""... and how far in pixels: half of one is lost wherever a tool rounds to whole pixels."""

_SURELY_PIXELS: Final = 1.5
"""Beyond it a fraction cannot be a box that sticks out of its image: it was written in pixels."""

_FINE: Final = 100
"""Parts of a pixel that coordinates are taken to."""

_SNAP: Final = 5
"""Parts of a pixel: a coordinate so near to a whole pixel is that pixel, which a format has rounded."""

_CORNERS: Final = 4


def read_boxes(bounds: object) -> list[list[float]]:
    """The boxes of one phrase as an annotation holds them, by their shape alone.

    Args:
        bounds: a list of boxes, each ``[xmin, ymin, xmax, ymax]`` or four ``[x, y]`` corners in any order; one box
            alone, in either form, is taken too.

    Returns:
        At least one ``[xmin, ymin, xmax, ymax]``, in the units of the annotation and unchecked.

    Raises:
        Reject: not such a list, or an empty one.
    """
    if not isinstance(bounds, list):
        raise Reject("box-shape", f"bounds is not a list: {short(bounds)}")
    if not bounds:
        raise Reject("box-empty", "the phrase has no box")
    if all(is_number(value) for value in bounds) or _are_corners(bounds):
        bounds = [bounds]
    return [_edges(box) for box in bounds]


def finish(truth: Mapping[str, Any], units: Units, size: tuple[int, int]) -> dict[str, Any]:
    """The truth of a grounding sample with its boxes on the grid of 0..1024.

    The boxes of a phrase are put in reading order (by their upper, then their left edge): tools keep them in the order
    in which they were drawn, which no picture shows and no model can learn.

    Args:
        truth: ``{"sentence": s, "groundings": [{"phrase": s, "boxes": [[xmin, ymin, xmax, ymax], ...]}]}``.
        units: of its boxes; those of ``grid`` are already what is trained, and stay as they are.
        size: width and height in pixels of the image as it was annotated, or of the image itself where the
            annotation does not say; boxes hold for the image at every scale.

    Returns:
        A new truth with integers, ``xmin < xmax`` and ``ymin < ymax``.

    Raises:
        Reject: a box is in other units than it should be, outside the image, inverted or empty.
    """
    if units == "grid":
        return dict(truth)
    groundings = [
        {
            **item,
            "boxes": sorted(
                (_box(box, units, size) for box in item["boxes"]), key=lambda box: (box[1], box[0], box[3], box[2])
            ),
        }
        for item in truth["groundings"]
    ]
    return {**truth, "groundings": groundings}


def _edges(box: object) -> list[float]:
    if not isinstance(box, list) or len(box) != _CORNERS:
        raise Reject("box-shape", f"not a box: {short(box)}")
    if _are_corners(box):
        xs, ys = [float(x) for x, _ in box], [float(y) for _, y in box]
        if not all(map(math.isfinite, (*xs, *ys))):
            raise Reject("box-shape", f"a corner is not finite: {short(box)}")
        return [min(xs), min(ys), max(xs), max(ys)]
    if not all(is_number(value) for value in box):
        raise Reject("box-shape", f"not a box of four numbers: {short(box)}")
    return [float(value) for value in box]


def _box(edges: list[float], units: Units, size: tuple[int, int]) -> list[int]:
    left, top, right, bottom = edges
    width, height = size
    if not all(map(math.isfinite, edges)):
        raise Reject("box-shape", f"a bound is not a finite number: {edges}")
    if units == "fraction":
        if any(abs(edge) > _SURELY_PIXELS for edge in edges):
            raise Reject(
                "box-in-pixels",
                "bounds are fractions from 0 to 1, and these look like pixels of an image of "
                f"{width} x {height}: {_shown(edges)}",
            )
        left, top, right, bottom = left * width, top * height, right * width, bottom * height
    elif all(abs(edge) <= 1 for edge in edges) and not all(edge.is_integer() for edge in edges):
        raise Reject("box-in-fractions", f"bounds are pixels, and these look like fractions: {_shown(edges)}")
    if left > right or top > bottom:
        raise Reject("box-inverted", f"the box is inverted: {_shown(edges)}")
    if left == right or top == bottom:
        raise Reject("box-empty", f"the box has no area: {_shown(edges)}")
    if _leaves(left, right, width) or _leaves(top, bottom, height):
        raise Reject("box-outside", f"the box leaves the image of {width} x {height}: {_shown(edges)}")
    (x1, x2), (y1, y2) = _on_grid(left, right, width), _on_grid(top, bottom, height)
    return [x1, y1, x2, y2]


def _shown(edges: list[float]) -> str:
    return short([int(edge) if edge.is_integer() else edge for edge in edges])


def _leaves(low: float, high: float, side: int) -> bool:
    slack = max(_SLACK_PIXELS, _SLACK * side)
    return low < -slack or high > side + slack or low >= side or high <= 0


def _on_grid(low: float, high: float, side: int) -> tuple[int, int]:
    first, last = _unit(low, side), _unit(high, side)
    if first == last:  # thinner than one unit, but not nothing
        first = min(first, COORDINATE_RANGE - 1)
        last = first + 1
    return first, last


def _unit(edge: float, side: int) -> int:
    if edge.is_integer() and 0 <= edge <= side:  # the same as below, for what most formats hold
        return (2 * int(edge) * COORDINATE_RANGE + side) // (2 * side)
    fine = math.floor(min(max(edge, 0.0), float(side)) * _FINE + 0.5)
    whole = (fine + _FINE // 2) // _FINE * _FINE
    # Never further than to the nearest unit of the grid, or boxes that come from the grid would not get back to it.
    if abs(fine - whole) <= min(_SNAP, _FINE * side // (2 * COORDINATE_RANGE)):
        fine = whole
    return (2 * fine * COORDINATE_RANGE + _FINE * side) // (2 * _FINE * side)


def is_number(value: object) -> bool:
    """Whether a value of a JSON text can be a coordinate."""
    # An integer of a thousand digits is JSON as well, and no float.
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**53)


def _are_corners(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == _CORNERS
        and all(isinstance(point, list) and len(point) == 2 and all(map(is_number, point)) for point in value)
    )
