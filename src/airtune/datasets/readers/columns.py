"""Which columns of a table hold the image, the question, the answer: told by their names and by what is in them.

Tables of the Hugging Face hub have no fixed columns. Those that say the same are looked for by the names that are
common there, the more certain first, and a column counts only if what it holds fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from airtune.datasets.draft import Reject
from airtune.runspec.tasks import Task

Kind = Literal["picture", "pictures", "text", "texts", "class", "number", "boxes", "objects", "messages", "other"]
"""What a column holds: ``objects`` are boxes with classes, ``messages`` any list of objects."""

_WORDS: Final[dict[Kind, str]] = {
    "picture": "an image",
    "pictures": "images",
    "text": "text",
    "texts": "texts",
    "class": "a class",
    "number": "a number",
    "boxes": "boxes",
    "objects": "boxes with classes",
    "messages": "a list of objects",
    "other": "something else",
}
_IMAGES: Final = (
    *("images", "image", "img", "imgs", "picture", "pictures", "photo", "jpg", "png", "file_name", "file_names"),
    *("image_path", "image_paths", "image_file"),
)
_TALKS: Final = ("messages", "conversations", "conversation", "texts")
_QUESTIONS: Final = ("question", "query", "prompt", "instruction", "problem", "input", "user", "questions")
_ANSWERS: Final = (
    *("answer", "multiple_choice_answer", "answers", "response", "output", "completion", "solution", "ground_truth"),
    *("target", "assistant", "label"),
)
_CAPTIONS: Final = (
    *("caption", "captions", "text", "description", "descriptions", "sentence", "sentences", "raw", "alt_text"),
    *("label", "labels", "class", "category", "fine_label"),
)
_OBJECTS: Final = ("objects", "annotations", "boxes", "bboxes", "bbox")
_CHOICES: Final = ("choices", "options")
_NUMBERED: Final = re.compile(r"(?P<stem>.*?)[_-]?\d+")


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a table keeps what a task needs.

    Attributes:
        shape: ``talk`` (conversations as chat JSONL has them), ``question``, ``caption`` or ``objects``.
        images: the columns with images, in the order in which they are shown.
        of: the column with the conversation, the caption or the objects; for ``question`` that with the question.
        answer: the column with the answer to a question.
        choices: the column with the texts among which an answer's number chooses.
        unused: the other columns.
    """

    shape: Literal["talk", "question", "caption", "objects"]
    images: tuple[str, ...]
    of: str
    answer: str | None = None
    choices: str | None = None
    unused: tuple[str, ...] = ()


def columns_for(task: Task, kinds: Mapping[str, Kind]) -> Columns:
    """Where a table keeps what a task needs.

    Args:
        task: of the run.
        kinds: what each column holds.

    Raises:
        Reject: it has no such columns, or more than one that could be meant; names all that there are.
    """
    images = _images(kinds)
    if not images and task is not Task.GENERIC:
        raise _nothing("image", _IMAGES, task, kinds)
    shapes = {
        Task.PHRASE_GROUNDING: (_talk, _objects),  # boxes beside a conversation belong to it
        Task.VQA: (_talk, _question),
        Task.GENERIC: (_talk, _question, _caption),
    }.get(task, (_caption, _talk, _question))
    for shape in shapes:
        found = shape(kinds, images)
        if found is not None:
            return found
    wanted = {Task.VQA: (*_TALKS, *_QUESTIONS), Task.PHRASE_GROUNDING: (*_OBJECTS, *_TALKS)}
    raise _nothing(_MISSING.get(task, "caption"), wanted.get(task, (*_CAPTIONS, *_TALKS)), task, kinds)


_MISSING: Final = {
    Task.VQA: "question with its answer",
    Task.PHRASE_GROUNDING: "boxes with their classes",
    Task.GENERIC: "text",
}


def _nothing(what: str, names: Iterable[str], task: Task, kinds: Mapping[str, Kind]) -> Reject:
    there = ", ".join(f"{name!r} ({_WORDS[kind]})" for name, kind in list(kinds.items())[:20]) or "none at all"
    looked = ", ".join(dict.fromkeys(names))
    return Reject(
        "columns-unknown", f"no column with the {what}, for {task.value}; there are {there}; looked for: {looked}"
    )


def _first(kinds: Mapping[str, Kind], names: Iterable[str], *allowed: Kind) -> str | None:
    folded = {name.casefold(): name for name in kinds}
    return next((folded[name] for name in names if name in folded and kinds[folded[name]] in allowed), None)


def _images(kinds: Mapping[str, Kind]) -> tuple[str, ...]:
    named = _first(kinds, _IMAGES, "picture", "pictures")
    if named is not None:
        return (named,)
    pictures = [name for name, kind in kinds.items() if kind in ("picture", "pictures")]
    stems = {match["stem"] if (match := _NUMBERED.fullmatch(name)) else name for name in pictures}
    if len(pictures) > 1 and len(stems) > 1:
        raise Reject(
            "columns-unknown",
            f"{len(pictures)} columns hold images, and none of them is called 'image': {', '.join(pictures)}",
        )
    if pictures:
        return tuple(sorted(pictures, key=lambda name: (len(name), name)))
    paths = _first(kinds, _IMAGES, "text", "texts")
    return (paths,) if paths is not None else ()


def _without(kinds: Mapping[str, Kind], *used: str | None) -> tuple[str, ...]:
    return tuple(name for name in kinds if name not in used)


def _talk(kinds: Mapping[str, Kind], images: tuple[str, ...]) -> Columns | None:
    name = _first(kinds, _TALKS, "messages")
    if name is not None:
        return Columns("talk", images, name, unused=_without(kinds, name, "objects", *images))
    if kinds.get("prompt") == kinds.get("completion") == "messages":
        unused = _without(kinds, "prompt", "completion", *images)
        return Columns("question", images, "prompt", "completion", unused=unused)
    return None


def _question(kinds: Mapping[str, Kind], images: tuple[str, ...]) -> Columns | None:
    question = _first(kinds, _QUESTIONS, "text")
    rest = {name: kind for name, kind in kinds.items() if name != question}
    answer = _first(rest, _ANSWERS, "text", "texts", "number", "class", "messages")
    if question is None or answer is None:
        return None
    choices = _first(rest, _CHOICES, "texts")
    return Columns("question", images, question, answer, choices, _without(kinds, question, answer, choices, *images))


def _caption(kinds: Mapping[str, Kind], images: tuple[str, ...]) -> Columns | None:
    if _first(kinds, _QUESTIONS, "text") is not None:  # the other text answers it
        return None
    name = _first(kinds, _CAPTIONS, "text", "texts", "class")
    return None if name is None else Columns("caption", images, name, unused=_without(kinds, name, *images))


def _objects(kinds: Mapping[str, Kind], images: tuple[str, ...]) -> Columns | None:
    name = _first(kinds, _OBJECTS, "objects")
    return None if name is None else Columns("objects", images, name, unused=_without(kinds, name, *images))


def kind_of_values(values: Iterable[Any]) -> Kind:
    """What a column of JSON or CSV values holds."""
    there = [value for value in values if value is not None]
    if there and all(isinstance(value, str) for value in there):
        return "text"
    if there and all(isinstance(value, int | float) for value in there):
        return "number"
    if there and all(isinstance(value, list) for value in there):
        inner = [item for value in there for item in value]
        if inner and all(isinstance(item, str) for item in inner):
            return "texts"
        return "messages" if inner and all(isinstance(item, Mapping) for item in inner) else "other"
    if there and all(isinstance(value, Mapping) for value in there):
        return "objects" if any(_has_boxes(value) for value in there) else "other"
    return "other"


def _has_boxes(names: Iterable[str]) -> bool:
    return bool({"bbox", "bboxes", "boxes"} & set(names))


def kind_of_type(name: str, type_: Any, feature: Any, pictures: Iterable[str]) -> Kind:
    """What a column of a parquet or Arrow file holds.

    Args:
        name: of the column.
        type_: its Arrow type.
        feature: what the ``datasets`` library wrote down about it, or None.
        pictures: the columns with images.
    """
    import pyarrow.types as types

    listed = types.is_list(type_) or types.is_large_list(type_)
    if name in pictures:
        return "pictures" if listed else "picture"
    inner = type_.value_type if listed else type_
    if types.is_struct(inner) and _has_boxes(field.name for field in inner):
        return "objects"
    if types.is_struct(inner):
        return "messages" if listed else "other"
    if types.is_string(inner) or types.is_large_string(inner):
        return "texts" if listed else "text"
    if not listed and types.is_integer(inner):
        return "class" if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel" else "number"
    if not listed and types.is_floating(inner):
        return "number"
    return "other"
