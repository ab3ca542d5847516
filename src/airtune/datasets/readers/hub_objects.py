"""Boxes with classes in a row of a Hugging Face dataset.

The hub documents ``{"objects": {"bbox": [[x, y, width, height], ...], "category": [...]}}`` in pixels, and the same as
a list of objects. Categories are names, or numbers whose names the dataset brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from airtune.datasets.boxes import read_boxes
from airtune.datasets.draft import Reject, short
from airtune.datasets.sentences import class_name, truth_of

_BOXES: Final = ("bbox", "bboxes", "boxes")
_CLASSES: Final = ("category", "categories", "label", "labels", "class", "classes", "name", "names", "category_id")


def truth_of_objects(value: Any, names: list[str]) -> dict[str, Any]:
    """The truth of a row for phrase grounding, its boxes ``[xmin, ymin, xmax, ymax]`` in pixels and unchecked.

    Args:
        value: the column's value.
        names: of the classes, by number; empty where the dataset brings none.

    Raises:
        Reject: it has another shape, no box, or a class without a name.
    """
    if isinstance(value, list):
        items = [(_under(item, _BOXES), _under(item, _CLASSES)) for item in value]
    else:
        boxes, classes = _under(value, _BOXES), _under(value, _CLASSES)
        if not isinstance(boxes, list) or not isinstance(classes, list) or len(boxes) != len(classes):
            raise Reject("annotation-shape", f"not as many classes as boxes: {short(value)}")
        items = list(zip(boxes, classes, strict=True))
    if not items:
        raise Reject("no-object", "the image has no box")
    by_name: dict[str, list[list[float]]] = {}
    for box, category in items:
        [(x, y, width, height)] = [tuple(edges) for edges in read_boxes([box])]
        by_name.setdefault(class_name(_name(category, names)), []).append([x, y, x + width, y + height])
    return truth_of(by_name)


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
