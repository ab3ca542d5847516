"""Writes what :mod:`airtune.datasets.readers.vi` reads: a Vi export, one annotation file an image.

Vi holds phrase grounding, questions and texts about one image each. The questions that stood together stay together.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Final

from airtune.datasets.draft import Draft
from airtune.datasets.record import Split
from airtune.datasets.writers.base import Sides, as_fractions, cannot_hold, checked_boxes, only_image
from airtune.datasets.writers.pictures import Pictures, Placed
from airtune.runspec.tasks import Task

NAME: Final = "vi"

_FOLDERS: Final[dict[Split | None, str]] = {"train": "training", "validation": "validation", None: "dump"}


class ViWriter:
    """See :class:`airtune.datasets.writers.base.Writer`."""

    name: ClassVar[str] = NAME

    def __init__(self, root: Path, pictures: Pictures, sides: Sides) -> None:
        self._root = root
        self._pictures = pictures
        self._sides = sides
        self._lines = 0
        self._files: dict[tuple[str, str], str] = {}
        self._together: tuple[Any, ...] | None = None
        self._questions: list[dict[str, Any]] = []
        self._asset: tuple[str, dict[str, Any]] | None = None

    def add(self, draft: Draft, task: Task) -> None:
        """Write one sample; questions are kept back until the last of their line has come."""
        image = only_image(NAME, draft)
        folder = _FOLDERS[self._sides[draft.place.split]]
        if task is Task.PHRASE_GROUNDING and draft.prompt is not None:
            raise cannot_hold(NAME, "phrase grounding that is asked for in words of its own")
        if task is Task.FREEFORM and draft.prompt is not None:
            raise cannot_hold(NAME, "a text that is asked for in words of its own")
        placed = self._pictures.place(image, f"{folder}/images")
        asset = _asset(placed, draft.annotated_size)
        if task is Task.PHRASE_GROUNDING:
            self._put(folder, asset, _grounding(draft, draft.annotated_size or placed.size))
        elif draft.prompt is None:
            text = draft.truth["text" if task is Task.GENERIC else "caption"]
            self._put(folder, asset, {"type": "Freeform", "text": text})
        else:
            together = (image, draft.place.file, draft.place.line, folder)
            if together != self._together:
                self._put_questions()
                self._together, self._asset = together, (folder, asset)
            answer = draft.truth["text" if task is Task.GENERIC else "answer"]
            self._questions.append({"order": len(self._questions) + 1, "question": draft.prompt, "answer": answer})

    def nothing(self, image: str, split: Split | None) -> None:
        """Vi has no line that says so."""
        del image, split
        raise cannot_hold(NAME, "an image that is annotated as showing no object")

    def close(self) -> None:
        """Write the last questions."""
        self._put_questions()

    def _put_questions(self) -> None:
        if self._questions and self._asset is not None:
            folder, asset = self._asset
            questions, self._questions = self._questions, []
            self._put(folder, asset, {"type": "Vqa", "interactions": questions})

    def _put(self, folder: str, asset: dict[str, Any], contents: dict[str, Any]) -> None:
        self._lines += 1
        line = {"id": str(self._lines), "asset": asset, "contents": contents}
        path = self._root / folder / "annotations" / self._file(folder, asset["filename"])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _file(self, folder: str, image: str) -> str:
        """``a.jsonl`` for ``a.png``; where an ``a.jpg`` has that already, ``a.png.jsonl``."""
        stem = image.rpartition(".")[0]
        owner = self._files.setdefault((folder, stem.casefold()), image)
        return f"{stem}.jsonl" if owner == image else f"{image}.jsonl"


def _asset(placed: Placed, annotated: tuple[int, int] | None) -> dict[str, Any]:
    width, height = annotated or placed.size
    return {"type": "Image", "filename": placed.name, "height": height, "width": width}


def _grounding(draft: Draft, size: tuple[int, int]) -> dict[str, Any]:
    checked_boxes(draft, size)
    sentence = draft.truth["sentence"]
    grounded = []
    begins: dict[str, int] = {}
    for item in draft.truth["groundings"]:
        phrase = item["phrase"]
        # A phrase that is grounded twice is taken for its next occurrence, if there is one.
        start = sentence.find(phrase, begins.get(phrase, -1) + 1)
        start = begins[phrase] = start if start >= 0 else sentence.index(phrase)
        grounded.append(
            {
                "phrase": phrase,
                "startTokenIndex": start,
                "endTokenIndex": start + len(phrase),
                "bounds": [as_fractions(box, draft.units, size) for box in item["boxes"]],
            }
        )
    return {"type": "PhraseGrounding", "caption": sentence, "groundedPhrases": grounded}
