"""Writes what :mod:`airtune.datasets.readers.coco` reads: COCO documents, one for boxes and one for captions a split.

COCO holds boxes with class names, and captions. A sentence that somebody wrote is neither: only samples whose sentence
is made of class names (:mod:`airtune.datasets.annotations.sentences`) can be written as boxes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar, Final, TextIO

from airtune.datasets.annotations.sentences import names_of, sentence_of
from airtune.datasets.draft import Draft, Reject, short
from airtune.datasets.record import Split
from airtune.datasets.writers.base import Sides, as_pixels, cannot_hold, checked_boxes, only_image
from airtune.datasets.writers.pictures import Pictures, Placed
from airtune.runspec.tasks import Task

NAME: Final = "coco"


class CocoWriter:
    """See :class:`airtune.datasets.writers.base.Writer`."""

    name: ClassVar[str] = NAME

    def __init__(self, root: Path, pictures: Pictures, sides: Sides) -> None:
        self._root = root
        self._pictures = pictures
        self._sides = sides
        self._documents: dict[tuple[str, Split | None], _Document] = {}
        self._categories: dict[str, int] = {}

    def add(self, draft: Draft, task: Task) -> None:
        """Write one sample."""
        image = only_image(NAME, draft)
        if task is Task.VQA or (draft.prompt is not None and task is not Task.PHRASE_GROUNDING):
            raise cannot_hold(NAME, "a question")
        if draft.prompt is not None:
            raise cannot_hold(NAME, "phrase grounding that is asked for in words of its own")
        split = self._sides[draft.place.split]
        if task is not Task.PHRASE_GROUNDING:
            placed = self._place(image, split)
            document = self._document("captions", split)
            number = document.image(placed, draft.annotated_size)
            document.annotation(image_id=number, caption=draft.truth["text" if task is Task.GENERIC else "caption"])
            return
        names = _names(draft)
        placed = self._place(image, split)
        size = draft.annotated_size or placed.size
        checked_boxes(draft, size)
        document = self._document("instances", split)
        if document.knows(placed):
            raise cannot_hold(NAME, "boxes of one image in two samples")
        number = document.image(placed, draft.annotated_size)
        for name, item in zip(names, draft.truth["groundings"], strict=True):
            category = self._categories.setdefault(name, len(self._categories) + 1)
            for box in item["boxes"]:
                left, top, right, bottom = as_pixels(box, draft.units, size)
                width, height = round(right - left, 3), round(bottom - top, 3)
                document.annotation(
                    image_id=number,
                    category_id=category,
                    bbox=[left, top, width, height],
                    area=round(width * height, 3),
                    iscrowd=0,
                )

    def nothing(self, image: str, split: Split | None) -> None:
        """The image stands in the document, without annotations."""
        side = self._sides[split]
        placed = self._place(image, side)
        document = self._document("instances", side)
        if document.knows(placed):
            raise cannot_hold(NAME, "an image that shows something in one sample and nothing in another")
        document.image(placed, None)

    def close(self) -> None:
        """Put the documents together."""
        for document in self._documents.values():
            document.close(self._categories)

    def _place(self, image: str, split: Split | None) -> Placed:
        return self._pictures.place(image, f"images/{split}" if split else "images")

    def _document(self, kind: str, split: Split | None) -> _Document:
        if (kind, split) not in self._documents:
            path = self._root / "annotations" / (f"{kind}_{split}.json" if split else f"{kind}.json")
            self._documents[kind, split] = _Document(path)
        return self._documents[kind, split]


def _names(draft: Draft) -> list[str]:
    sentence = draft.truth["sentence"]
    phrases = [item["phrase"] for item in draft.truth["groundings"]]
    names = names_of(phrases, sentence)
    if len(set(names)) != len(names) or _made_of(names) != sentence:
        raise cannot_hold(NAME, f"a sentence that is more than the names of classes: {short(sentence)}")
    return names


def _made_of(names: list[str]) -> str | None:
    try:
        return sentence_of(tuple(sorted(names)))[0]
    except Reject:
        return None


class _Document:
    """One COCO document; its images and annotations are written as they come, and put together at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._numbers: dict[str, int] = {}
        self._annotations = 0
        self._lists: dict[str, TextIO] = {
            name: path.with_name(f".{path.name}.{name}").open("w+", encoding="utf-8")
            for name in ("images", "annotations")
        }
        self._begun: set[str] = set()

    def knows(self, placed: Placed) -> bool:
        """Whether the image is in the document."""
        return placed.name in self._numbers

    def image(self, placed: Placed, annotated: tuple[int, int] | None) -> int:
        """The image's id; the image is written where it is new."""
        number = self._numbers.get(placed.name)
        if number is None:
            number = self._numbers[placed.name] = len(self._numbers) + 1
            width, height = annotated or placed.size
            self._put("images", {"id": number, "file_name": placed.name, "width": width, "height": height})
        return number

    def annotation(self, **values: Any) -> None:
        """One annotation, which gets the next id."""
        self._annotations += 1
        self._put("annotations", {"id": self._annotations, **values})

    def close(self, categories: dict[str, int]) -> None:
        """Write the document."""
        with self._path.open("w", encoding="utf-8") as target:
            target.write('{"info": {},\n')
            for name, rows in self._lists.items():
                target.write(f'"{name}": [\n')
                rows.seek(0)
                shutil.copyfileobj(rows, target)
                target.write("\n],\n")
                rows.close()
                Path(rows.name).unlink()
            listed = [{"id": number, "name": name} for name, number in categories.items()]
            target.write(f'"categories": {json.dumps(listed, ensure_ascii=False)}}}\n')

    def _put(self, name: str, row: dict[str, Any]) -> None:
        self._lists[name].write((",\n" if name in self._begun else "") + json.dumps(row, ensure_ascii=False))
        self._begun.add(name)
