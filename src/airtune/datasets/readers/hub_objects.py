"""Boxes with classes in a row of a Hugging Face dataset.

The hub documents ``{"objects": {"bbox": [[x, y, width, height], ...], "category": [...]}}`` in pixels, and the same as
a list of objects. Categories are names, or numbers whose names the dataset brings. Some datasets write corners instead
and nothing says so; they are told by boxes that would leave their images (see :func:`hold_corners`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from airtune.datasets.annotations.boxes import read_boxes
from airtune.datasets.annotations.sentences import class_name, truth_of
from airtune.datasets.draft import Reject, short

_BOXES: Final = ("bbox", "bboxes", "boxes")
_CLASSES: Final = ("category", "categories", "label", "labels", "class", "classes", "name", "names", "category_id")


def truth_of_objects(value: Any, names: list[str], *, corners: bool) -> dict[str, Any]:
    """The truth of a row for phrase grounding, its boxes ``[xmin, ymin, xmax, ymax]`` in pixels and unchecked.

    Args:
        value: the column's value.
        names: of the classes, by number; empty where the dataset brings none.
        corners: whether its boxes are corners already, and not a corner with width and height.

    Raises:
        Reject: it has another shape, no box, or a class without a name.
    """
    items = _items(value)
    if not items:
        raise Reject("no-object", "the image has no box")
    by_name: dict[str, list[list[float]]] = {}
    for box, category in items:
        [edges] = read_boxes([box])
        by_name.setdefault(class_name(_name(category, names)), []).append(edges if corners else _with_corners(edges))
    return truth_of(by_name)


def hold_corners(found: Iterable[tuple[Any, tuple[int, int]]]) -> bool:
    """Whether the boxes of some rows are corners, and not a corner with width and height.

    Args:
        found: values of the column, each with width and height of its image in pixels.

    Returns:
        True where boxes would leave their images if they were taken as the hub documents them, and none of them does
        as corners.
    """
    leaving = False
    for value, (width, height) in found:
        try:
            boxes = [read_boxes([box])[0] for box, _ in _items(value)]
        except Reject:
            continue
        for left, top, right, bottom in boxes:
            if not (left < right <= width + 1 and top < bottom <= height + 1):
                return False
            leaving = leaving or left + right > width + 1 or top + bottom > height + 1
    return leaving


def _items(value: Any) -> list[tuple[Any, Any]]:
    """Each box with its class."""
    if isinstance(value, list):
        return [(_under(item, _BOXES), _under(item, _CLASSES)) for item in value]
    boxes, classes = _under(value, _BOXES), _under(value, _CLASSES)
    if not isinstance(boxes, list) or not isinstance(classes, list) or len(boxes) != len(classes):
        raise Reject("annotation-shape", f"not as many classes as boxes: {short(value)}")
    return list(zip(boxes, classes, strict=True))


def _with_corners(edges: list[float]) -> list[float]:
    left, top, width, height = edges
    return [left, top, left + width, top + height]


def _under(owner: Any, keys: tuple[str, ...]) -> Any:
    if isinstance(owner, Mapping):
        for key in keys:
            if owner.get(key) is not None:
                return owner[key]
    raise Reject("annotation-shape", f"there is none of {', '.join(keys)} in {short(owner)}")


def _name(category: Any, names: list[str]) -> str:
    if isinstance(category, str):
        return category
    if type(category) is int and 0 <= category < len(names):
        return names[category]
    raise Reject("annotation-shape", f"the class {short(category)} has no name; {len(names)} have one")
