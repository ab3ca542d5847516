"""Dataset folders of the Hugging Face hub: parquet, Arrow (``save_to_disk``) and image folders with ``metadata``.

Nothing of such a folder is executed, and nothing is fetched: scripts in it are passed over. Columns have no fixed
names there; :mod:`airtune.datasets.readers.columns` finds out which is which, and refuses in words what it cannot. A
row becomes

* a conversation, as in chat JSONL, where a column holds messages;
* a question with its answer: of several answers the most frequent; a number among choices is the text it stands for,
  and the choices are asked with the question;
* a caption, or each of several; the name of a class counts as one;
* boxes with classes, see :mod:`airtune.datasets.readers.hub_objects`.

Images without metadata have the names of their folders as classes, where the run names this format.

Pictures in the cells of tables stay there, see :mod:`airtune.datasets.sources.tables`.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Any, ClassVar, Final

from airtune.datasets.draft import Draft, Outcome, Place, Reject, SetAside, short
from airtune.datasets.pictures.decoding import UnusableImageError, upright_size
from airtune.datasets.readers import fields
from airtune.datasets.readers.class_folders import class_folders
from airtune.datasets.readers.columns import Columns, Kind, columns_for
from airtune.datasets.readers.conversations import Conversations
from airtune.datasets.readers.hub_files import SIDECARS, HubFiles, hub_files, is_table
from airtune.datasets.readers.hub_objects import hold_corners, truth_of_objects
from airtune.datasets.readers.places import image_keys
from airtune.datasets.readers.table_rows import InTable, Rows, rows_of
from airtune.datasets.record import Split
from airtune.datasets.sources.source import Source
from airtune.datasets.sources.table_cells import cell_of
from airtune.datasets.sources.tables import TableError
from airtune.runspec.tasks import Task

NAME: Final = "huggingface"

_LOOKED_AT: Final = 200
"""Rows of a file from which it is told how its boxes are written."""


class HuggingFaceReader:
    """Reads a dataset folder of the Hugging Face hub.

    Args:
        source: the dataset's folder.
    """

    name: ClassVar[str] = NAME

    def __init__(self, source: Source) -> None:
        self._source = source
        self._conversations = Conversations(Task.GENERIC)
        self._unused: dict[str, tuple[str, ...]] = {}
        self._chosen = 0
        self._corners: list[str] = []

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """Whether there are tables, or images with metadata beside them."""
        return any(is_table(key) and _describes_images(source, key) for key in source.keys)

    @functools.cached_property
    def _files(self) -> HubFiles:
        return hub_files(self._source)

    def notes(self) -> list[str]:
        """What was left out as a whole, in sentences; complete after :meth:`read`."""
        notes = [*self._files.notes, *self._conversations.notes()]
        if self._chosen:
            notes.append(f"{self._chosen} questions have several answers that differ: the most frequent is trained")
        if self._corners:
            notes.append(
                "boxes are read as [xmin, ymin, xmax, ymax]: as [x, y, width, height] they would leave their images, "
                f"in {short(self._corners[:5])}"
            )
        if names := ", ".join(dict.fromkeys(name for unused in self._unused.values() for name in unused)):
            notes.append(f"columns that are not used: {names[:300]}")
        return notes

    def images(self) -> list[str]:
        """The keys of all files whose names say that they are images."""
        return image_keys(self._source)

    def read(self, task: Task) -> Iterator[Outcome]:
        """Every sample of every file, usable or not, in the order of the files' names.

        Raises:
            DataError: the README names several configurations and none of them as the default.
        """
        self._conversations = Conversations(task)
        self._unused, self._chosen, self._corners = {}, 0, []
        for key, split in self._files.sides.items():
            try:
                rows = rows_of(self._source, self._source.tables, key)
            except Reject as refusal:
                yield refusal.at(Place(file=key, line=1, split=split))
                continue
            yield from self._samples(task, key, split, rows)
        if not self._files.sides:
            for key, split, name in class_folders(self.images()):
                kinds: dict[str, Kind] = {"image": "picture"} if name is None else {"image": "picture", "label": "text"}
                row = {"image": PurePosixPath(key).name, "label": name}
                yield from self._samples(task, key, split, Rows(kinds, {}, iter([(1, row)])))

    def _samples(self, task: Task, key: str, split: Split | None, rows: Rows) -> Iterator[Outcome]:
        columns: Columns | Reject
        try:
            columns = columns_for(task, rows.kinds)
            self._unused[key] = columns.unused
        except Reject as refusal:
            columns = refusal
        lines = rows.rows
        corners = False
        if isinstance(columns, Columns) and columns.shape == "objects":
            first = list(islice(lines, _LOOKED_AT))
            lines = chain(first, lines)
            corners = self._hold_corners(columns, [row for _, row in first if isinstance(row, Mapping)])
            if corners:
                self._corners.append(key)
        for line, row in lines:
            place = Place(file=key, line=line, split=split)
            if isinstance(row, Reject):
                yield row.at(place)
            elif isinstance(columns, Reject):
                yield columns.at(place)
            elif not isinstance(row, Mapping):
                yield Reject("annotation-shape", f"the line is not an object: {short(row)}").at(place)
            else:
                yield from self._row(task, place, columns, row, rows.classes, corners=corners)

    def _hold_corners(self, columns: Columns, rows: list[Mapping[str, Any]]) -> bool:
        return hold_corners(
            (row.get(columns.of), size) for row in rows if (size := self._size(row, columns.images)) is not None
        )

    def _size(self, row: Mapping[str, Any], images: tuple[str, ...]) -> tuple[int, int] | None:
        """Width and height of a row's image, if they are written down or can be seen without looking for it."""
        if _is_size(row):
            return row["width"], row["height"]
        cell = next((cell_of(name) for name in _shown(row, images) if isinstance(name, InTable)), None)
        try:
            picture = self._source.tables.open(cell.file).picture(cell) if cell is not None else None
            return upright_size(picture, name="") if picture is not None else None
        except (TableError, UnusableImageError):
            return None

    def _row(
        self,
        task: Task,
        place: Place,
        columns: Columns,
        row: Mapping[str, Any],
        classes: Mapping[str, list[str]],
        *,
        corners: bool,
    ) -> Iterator[Outcome]:
        shown = _shown(row, columns.images)
        value: dict[str, Any] = {"images": shown}
        locate = functools.partial(self._locate, PurePosixPath(place.file).parent.as_posix())
        images: list[str] = []
        try:
            if columns.shape == "talk":
                value[columns.of] = row.get(columns.of)
                if row.get("objects") is not None:
                    value["objects"] = row["objects"]
                yield from self._conversations.samples(value, place, locate)
                return
            if columns.shape == "question" and columns.answer is not None:
                value["question"], value["answer"] = self._question(row, columns, columns.answer, classes)
                yield from self._conversations.samples(value, place, locate)
                return
            images += [locate(name) for name in shown]
            if not images and task is not Task.GENERIC:
                raise Reject("image-not-named", "the row has no image")
            if columns.shape == "objects":
                truth = truth_of_objects(row.get(columns.of), classes.get(columns.of, []), corners=corners)
                size = fields.size(row) if _is_size(row) else None
                yield Draft(
                    place=place, images=tuple(images), prompt=None, truth=truth, annotated_size=size, units="pixel"
                )
                return
        except Reject as refusal:
            yield refusal.at(place, images)
            return
        yield from _captions(task, place, tuple(images), _named(row.get(columns.of), classes.get(columns.of)))

    def _locate(self, folder: str, name: object) -> str:
        if isinstance(name, InTable):
            return str(name)
        return self._source.image_key(name, dict.fromkeys(("" if folder == "." else folder, "")))

    def _question(
        self, row: Mapping[str, Any], columns: Columns, answer: str, classes: Mapping[str, list[str]]
    ) -> tuple[Any, Any]:
        """The question as it is asked, and its answer."""
        asked, answered = row.get(columns.of), _named(row.get(answer), classes.get(answer))
        choices = row.get(columns.choices) if columns.choices is not None else None
        if isinstance(choices, list) and choices and type(answered) is int and isinstance(asked, str):
            if not 0 <= answered < len(choices):
                raise Reject("annotation-shape", f"{answer!r} is {answered}, and there are {len(choices)} choices")
            return "\n".join([asked, *map(str, choices)]), choices[answered]
        if isinstance(answered, list) and not any(isinstance(item, Mapping) for item in answered):
            counts = Counter(text for text in answered if isinstance(text, str) and text.strip())
            self._chosen += len(counts) > 1
            answered = counts.most_common(1)[0][0] if counts else ""
        elif type(answered) in (int, float) and answered == answered:
            answered = str(int(answered) if float(answered).is_integer() else answered)
        return asked, "" if answered is None else answered


def _describes_images(source: Source, key: str) -> bool:
    """Whether a file is a table, or a sidecar whose first row names an image."""
    if PurePosixPath(key).name not in SIDECARS[:2]:
        return True
    try:
        return b"file_name" in source.head(key)
    except Reject:
        return False


def _shown(row: Mapping[str, Any], columns: tuple[str, ...]) -> list[Any]:
    shown: list[Any] = []
    for name in columns:
        value = row.get(name)
        shown += value if isinstance(value, list) else [value] if value is not None else []
    return shown


def _is_size(row: Mapping[str, Any]) -> bool:
    return type(row.get("width")) is int and type(row.get("height")) is int


def _named(value: Any, names: list[str] | None) -> Any:
    """The value, or the name of the class whose number it is."""
    if names and type(value) is int:
        if not 0 <= value < len(names):
            raise Reject("annotation-shape", f"there is no class {value}: {len(names)} have names")
        return names[value]
    return value


def _captions(task: Task, place: Place, images: tuple[str, ...], value: Any) -> Iterator[Outcome]:
    texts = value if isinstance(value, list) and value else [value]
    for number, text in enumerate(texts, start=1):
        at = Place(file=place.file, line=place.line, index=number, split=place.split)
        try:
            if not isinstance(text, str):
                raise Reject("answer-empty" if text is None else "annotation-shape", f"no caption: {short(text)}")
            caption = fields.usable_text(text, "caption", empty="answer-empty")
        except Reject as refusal:
            yield SetAside(place=at, reason=refusal.reason, message=refusal.message, images=images)
            continue
        truth = {"text" if task is Task.GENERIC else "caption": caption}
        yield Draft(place=at, images=images, prompt=None, truth=truth)
