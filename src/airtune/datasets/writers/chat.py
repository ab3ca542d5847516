"""Writes what :mod:`airtune.datasets.readers.chat_jsonl` reads: chat JSONL, one sample a line.

Boxes are written as the model is to answer them, on the grid of 0 to 1024.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Final, TextIO

from airtune.datasets.draft import Draft
from airtune.datasets.record import Split
from airtune.datasets.writers.base import Sides, cannot_hold, checked_boxes
from airtune.datasets.writers.pictures import Pictures
from airtune.runspec.answers import parse_answer
from airtune.runspec.tasks import Task

NAME: Final = "chat-jsonl"

_FILES: Final[dict[Split | None, str]] = {"train": "train", "validation": "validation", None: "data"}
_MARKS: Final = ("<image>", "<video>")
_ANSWERED: Final = {Task.VQA: ("vqa", "answer"), Task.FREEFORM: ("freeform", "caption"), Task.GENERIC: ("", "text")}


class ChatWriter:
    """See :class:`airtune.datasets.writers.base.Writer`."""

    name: ClassVar[str] = NAME

    def __init__(self, root: Path, pictures: Pictures, sides: Sides) -> None:
        self._root = root
        self._pictures = pictures
        self._sides = sides
        self._files: dict[str, TextIO] = {}

    def add(self, draft: Draft, task: Task) -> None:
        """Write one sample."""
        if draft.video is not None:
            raise cannot_hold(NAME, "a video (conversion copies images alone)")
        asked = draft.prompt or ""
        name = _FILES[self._sides[draft.place.split]]
        placed = [self._pictures.place(key, f"images/{name}") for key in draft.images]
        size = draft.annotated_size or (placed[0].size if placed else (1, 1))
        answer = _grounding(draft, size) if task is Task.PHRASE_GROUNDING else _text(task, draft.truth)
        if any(mark in text for mark in _MARKS for text in (asked, answer)):
            raise cannot_hold(NAME, "<image> or <video> among the words: it would be taken for the image's place")
        line = {
            "messages": [
                {"role": "user", "content": _MARKS[0] * len(placed) + asked},
                {"role": "assistant", "content": answer},
            ],
            "images": [f"images/{name}/{image.name}" for image in placed],
        }
        self._file(name).write(json.dumps(line, ensure_ascii=False) + "\n")

    def nothing(self, image: str, split: Split | None) -> None:
        """A conversation has an answer."""
        del image, split
        raise cannot_hold(NAME, "an image that is annotated as showing no object")

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _file(self, name: str) -> TextIO:
        if name not in self._files:
            self._files[name] = (self._root / f"{name}.jsonl").open("w", encoding="utf-8")
        return self._files[name]


def _grounding(draft: Draft, size: tuple[int, int]) -> str:
    truth = checked_boxes(draft, size)
    groundings = [{"phrase": item["phrase"], "grounding": item["boxes"]} for item in truth["groundings"]]
    return _minified({"phrase_grounding": {"sentence": truth["sentence"], "groundings": groundings}})


def _text(task: Task, truth: dict[str, Any]) -> str:
    outer, inner = _ANSWERED[task]
    text: str = truth[inner]
    if task is Task.GENERIC or parse_answer(task, text).parsed is None:
        return text
    # Words that look like an answer in the form of the task would be read as one.
    return _minified({outer: {inner: text}})


def _minified(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
