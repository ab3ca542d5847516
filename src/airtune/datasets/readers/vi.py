"""Datature Vi's export: ``{training,validation}/{images,annotations}``, or ``dump/{images,annotations}``.

One annotation file an image, one JSON object a line::

    {"id": "1", "asset": {"type": "Image", "filename": "a.jpg", "height": 480, "width": 640},
     "contents": {"type": "Vqa", "interactions": [{"order": 1, "question": "How many?", "answer": "Two"}]}}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final

from airtune.datasets.annotations.boxes import read_boxes
from airtune.datasets.draft import Draft, Outcome, Place, Reject, short
from airtune.datasets.readers import fields
from airtune.datasets.readers.coco import is_coco
from airtune.datasets.readers.pieces import Piece, pieces_of, read_texts
from airtune.datasets.record import Split
from airtune.datasets.sources.source import Source
from airtune.runspec.tasks import Task

NAME: Final = "vi"

_SPLITS: Final[dict[str, Split]] = {"training": "train", "validation": "validation"}
_DUMP: Final = "dump"
_SUFFIXES: Final = (".json", ".jsonl")
_LOOKED_AT: Final = 4
_OTHER_ANNOTATIONS: Final = (".json", ".jsonl", ".xml", ".txt", ".csv", ".parquet", ".arrow")

_SERVES: Final[dict[str, tuple[Task, ...]]] = {
    "phrasegrounding": (Task.PHRASE_GROUNDING,),
    "vqa": (Task.VQA, Task.GENERIC),
    "freeform": (Task.FREEFORM, Task.GENERIC),
}
"""The tasks that each type of contents has samples for."""


def looks_like_vi(keys: Iterable[str]) -> bool:
    """Whether files with these keys have the layout of a Vi export, with or without annotations among them."""
    places = {f"{folder}/{kind}" for folder in (*_SPLITS, _DUMP) for kind in ("annotations", "images")}
    return any("/".join(key.split("/", 2)[:2]) in places for key in keys)


class ViReader:
    """Reads a Vi export.

    Args:
        source: the dataset's folder.
    """

    name: ClassVar[str] = NAME

    def __init__(self, source: Source) -> None:
        self._source = source
        files = {folder: _annotation_files(source, folder) for folder in (*_SPLITS, _DUMP)}
        delivered = any(files[folder] for folder in _SPLITS)
        self._files = {folder: files[folder] for folder in (_SPLITS if delivered else (_DUMP,))}
        self._image_folders = tuple(f"{folder}/images/" for folder in (self._files if any(files.values()) else files))
        self._left_out = len(files[_DUMP]) if delivered else 0

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """Whether the folder has the layout of a Vi export, and no annotations of another format in it."""
        if not looks_like_vi(source.keys):
            return False
        files = [key for folder in (*_SPLITS, _DUMP) for key in _annotation_files(source, folder)]
        if files:
            return not all(is_coco(source, key) for key in files[:_LOOKED_AT])
        return not any(key.lower().endswith(_OTHER_ANNOTATIONS) for key in source.keys)

    def notes(self) -> list[str]:
        """What is left out as a whole, in sentences."""
        notes = []
        if self._left_out:
            notes.append(
                f"dump/ with its {self._left_out} annotation files is left out: training/ and validation/ are there"
            )
        starts = tuple(f"{folder}/annotations/" for folder in self._files)
        others = [key for key in self._source.keys if key.startswith(starts) and not key.lower().endswith(_SUFFIXES)]
        if others:
            notes.append(f"{len(others)} files among the annotations are neither .json nor .jsonl: {short(others[:5])}")
        return notes

    def images(self) -> list[str]:
        """The keys of all files that lie where images belong."""
        return [key for key in self._source.keys if key.startswith(self._image_folders)]

    def read(self, task: Task) -> Iterator[Outcome]:
        """Every sample of every annotation, usable or not, in the order of the files' names."""
        for piece in self.pieces():
            yield from self.read_piece(piece, task)

    def pieces(self) -> Iterator[Piece]:
        """See :class:`airtune.datasets.readers.pieces.Divisible`."""
        for files in self._files.values():
            yield from pieces_of(self._source, files)

    def read_piece(self, piece: Piece, task: Task) -> Iterator[Outcome]:
        """See :class:`airtune.datasets.readers.pieces.Divisible`."""
        for text in read_texts(self._source, piece):
            folder = text.key.partition("/")[0]
            split = _SPLITS.get(folder)
            if isinstance(text.content, Reject):
                yield text.content.at(Place(file=text.key, line=text.line, split=split))
                continue
            for line, value in text.values():
                place = Place(file=text.key, line=line, split=split)
                yield from _samples(self._source, task, f"{folder}/images", place, value)

    def hand_over(self) -> None:
        """See :class:`airtune.datasets.readers.pieces.Divisible`: nothing is counted."""

    def take_over(self, counted: None) -> None:
        """See :class:`airtune.datasets.readers.pieces.Divisible`."""


def _annotation_files(source: Source, folder: str) -> list[str]:
    start = f"{folder}/annotations/"
    return sorted(key for key in source.keys if key.startswith(start) and key.lower().endswith(_SUFFIXES))


def _samples(source: Source, task: Task, images: str, place: Place, value: Any) -> Iterable[Outcome]:
    image: tuple[str, ...] = ()
    try:
        if isinstance(value, Reject):
            raise value
        if not isinstance(value, Mapping):
            raise Reject("annotation-shape", f"the line is not an object: {short(value)}")
        contents = fields.mapping(value, "contents")
        kind = _kind(contents, task)
        asset = fields.mapping(value, "asset")
        if str(asset.get("type", "Image")).casefold() == "video":
            raise Reject("video", "the asset is a video")
        size = fields.size(asset)
        interactions = fields.items(contents, "interactions", of="question") if kind == "vqa" else []
        name = asset.get("filename")
        try:
            image = (source.image_key(name, [images]),)
        except Reject as refusal:
            named = (f"{images}/{name}",) if isinstance(name, str) else ()
            return [refusal.at(_nth(place, index), named) for index in range(1, max(1, len(interactions)) + 1)]
        if kind != "vqa":
            if kind == "phrasegrounding":
                truth = _grounding(contents)
                return [
                    Draft(place=place, images=image, prompt=None, truth=truth, annotated_size=size, units="fraction")
                ]
            return [Draft(place=place, images=image, prompt=None, truth=_text(contents, task), annotated_size=size)]
    except Reject as refusal:
        return [refusal.at(place, image)]
    return [
        _question(task, interaction, _nth(place, index), image, size)
        for index, interaction in enumerate(interactions, start=1)
    ]


def _nth(place: Place, index: int) -> Place:
    return Place(file=place.file, line=place.line, index=index, split=place.split)


def _kind(contents: Mapping[str, Any], task: Task) -> str:
    kind = contents.get("type")
    folded = kind.casefold() if isinstance(kind, str) else ""
    if folded not in _SERVES:
        raise Reject("annotation-shape", f"contents.type is {short(kind)}; known are PhraseGrounding, Vqa and Freeform")
    if task not in _SERVES[folded]:
        raise Reject("other-task", f"an annotation of the type {kind} has no sample for {task.value}")
    return folded


def _question(
    task: Task, interaction: Any, place: Place, image: tuple[str, ...], size: tuple[int, int] | None
) -> Outcome:
    try:
        if not isinstance(interaction, Mapping):
            raise Reject("annotation-shape", f"an interaction is not an object: {short(interaction)}")
        question = fields.text(interaction, "question", empty="question-empty")
        answer = fields.text(interaction, "answer", empty="answer-empty")
    except Reject as refusal:
        return refusal.at(place, image)
    truth = {"answer" if task is Task.VQA else "text": answer}
    return Draft(place=place, images=image, prompt=question, truth=truth, annotated_size=size)


def _text(contents: Mapping[str, Any], task: Task) -> dict[str, Any]:
    key = "caption" if "text" not in contents and "caption" in contents else "text"
    return {"text" if task is Task.GENERIC else "caption": fields.text(contents, key, empty="answer-empty")}


def _grounding(contents: Mapping[str, Any]) -> dict[str, Any]:
    sentence = fields.text(contents, "caption", empty="answer-empty")
    groundings = []
    for item in fields.items(contents, "groundedPhrases", of="phrase"):
        if not isinstance(item, Mapping):
            raise Reject("annotation-shape", f"a grounded phrase is not an object: {short(item)}")
        phrase = fields.text(item, "phrase", empty="answer-empty")
        if phrase not in sentence:
            raise Reject("phrase-missing", f"{short(phrase)} does not stand in the sentence {short(sentence, 120)}")
        if "bounds" not in item:
            raise Reject("annotation-shape", f"the key 'bounds' is missing; there are {short(sorted(item))}")
        groundings.append({"phrase": phrase, "boxes": read_boxes(item["bounds"])})
    return {"sentence": sentence, "groundings": groundings}
