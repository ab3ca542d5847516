"""Boxes beside a conversation, as ms-swift writes them: marks in the texts, names and boxes under ``objects``.

::

    {"messages": [{"role": "user", "content": "<image>Describe the image."},
                  {"role": "assistant", "content": "<ref-object><bbox> and <ref-object><bbox> play on the beach"}],
     "images": ["a.jpg"],
     "objects": {"ref": ["a dog", "a woman"], "bbox": [[331, 761, 853, 1594], [676, 685, 1099, 1427]]}}

Boxes are corners in pixels of the image file, or fractions where ``bbox_type`` says ``norm1``. The marks are filled in
their order, through the question and then the answer; a box belongs to the name before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from airtune.datasets.annotations.boxes import Units, read_boxes
from airtune.datasets.draft import Reject, short

_NAME, _BOX = "<ref-object>", "<bbox>"
_MARKS: Final = re.compile(f"({_NAME}|{_BOX})")
_UNITS: Final[dict[Any, Units]] = {None: "pixel", "real": "pixel", "norm1": "fraction"}


def has_marks(text: str) -> bool:
    """Whether a text has places for names or boxes."""
    return _BOX in text or _NAME in text


def grounding_of(asked: str, answered: str, objects: Any) -> tuple[str, dict[str, Any], Units]:
    """The question with its names, the truth for phrase grounding, and the units of its boxes.

    Args:
        asked: the user's text.
        answered: the assistant's text.
        objects: the conversation's ``objects``.

    Raises:
        Reject: names, boxes and marks do not belong together.
    """
    if not isinstance(objects, Mapping) or objects.get("bbox_type") not in _UNITS:
        raise Reject("annotation-shape", f"'objects' has no boxes that are read: {short(objects)}")
    names, boxes = _given(objects, "ref"), _given(objects, "bbox")
    question, _, name = _filled(asked, names, boxes, None)
    sentence, found, _ = _filled(answered, names, boxes, name)
    if next(names, None) is not None or next(boxes, None) is not None:
        raise Reject("annotation-shape", "'objects' has more names or boxes than the texts have marks")
    if not found:
        raise Reject("answer-unreadable", f"the answer has no {_BOX}: {short(answered)}")
    sentence = sentence or ", ".join(found)
    missing = next((phrase for phrase in found if phrase not in sentence), None)
    if missing is not None:  # asked for by its name, and not named again in the answer
        raise Reject("phrase-missing", f"{short(missing)} does not stand in the answer {short(sentence, 120)}")
    groundings = [{"phrase": phrase, "boxes": edges} for phrase, edges in found.items()]
    return question, {"sentence": sentence, "groundings": groundings}, _UNITS[objects.get("bbox_type")]


def _given(objects: Mapping[str, Any], key: str) -> Iterator[Any]:
    values = objects.get(key) or []
    if not isinstance(values, list):
        raise Reject("annotation-shape", f"'{key}' of 'objects' is not a list: {short(values)}")
    return iter(values)


def _filled(
    text: str, names: Iterator[Any], boxes: Iterator[Any], name: str | None
) -> tuple[str, dict[str, list[list[float]]], str | None]:
    """A text with its names, the boxes of each, and the last name."""
    found: dict[str, list[list[float]]] = {}
    parts = []
    for part in _MARKS.split(text):
        if part == _NAME:
            name = _next(names, "name")
            if not isinstance(name, str) or not name.strip():
                raise Reject("annotation-shape", f"a name of 'objects' is not a text: {short(name)}")
            name = name.strip()
            parts.append(name)
        elif part == _BOX:
            if name is None:
                raise Reject("annotation-shape", f"no {_NAME} stands before a {_BOX}")
            found.setdefault(name, []).extend(read_boxes([_next(boxes, "box")]))
        else:
            parts.append(part)
    return "".join(parts).strip(), found, name


def _next(values: Iterator[Any], what: str) -> Any:
    value = next(values, None)
    if value is None:
        raise Reject("annotation-shape", f"the texts have more marks than 'objects' has a {what} for")
    return value
