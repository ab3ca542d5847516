"""YOLO: one text file an image, one object a line, and the classes' names in a file of their own.

::

    0 0.300000 0.400000 0.400000 0.400000

That is class, centre x, centre y, width and height, as fractions of the image. The names stand in ``data.yaml``
(``names``, a list or by number), ``classes.txt`` or ``obj.names``, one a line. The file of ``images/train/a.jpg`` is
``labels/train/a.txt``, or lies beside it. An empty file says that the image shows nothing. Outlines (segmentation) and
turned boxes are taken as the upright boxes around them, and that is said; of pose files (``kpt_shape`` in data.yaml)
the boxes are used.

The split is that of ``train``, ``val`` and ``test`` in data.yaml, or else of the folders' names.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import ClassVar, Final

from airtune.datasets.annotations.sentences import truth_of
from airtune.datasets.draft import Draft, Outcome, Place, Reject, short
from airtune.datasets.readers.objects import number, refuse_other_tasks
from airtune.datasets.readers.pieces import Piece, read_texts, whole_files
from airtune.datasets.readers.places import ImageFolders, image_keys
from airtune.datasets.readers.splits import delivered_by_folder, files_left_out
from airtune.datasets.readers.yolo_names import YoloNames, names_of_classes
from airtune.datasets.record import Split
from airtune.datasets.sources.source import Source
from airtune.runspec.tasks import Task

NAME: Final = "yolo"

_LINE: Final = re.compile(rb"\s*\d+(?:[ \t]+-?[\d.][\d.eE+-]*){4,}[ \t\r]*(?:\n|\Z)")
_LOOKED_AT: Final = 20
_LARGEST_FILE: Final = 16 * 1024 * 1024
_BOX: Final = 4
_FEWEST_CORNERS: Final = 3


class YoloReader:
    """Reads YOLO.

    Args:
        source: the dataset's folder.
    """

    name: ClassVar[str] = NAME

    def __init__(self, source: Source) -> None:
        self._source = source
        self._folders = ImageFolders(source)
        self._outlines = 0

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """Whether there are text files that belong to images and hold boxes, or are empty beside names of classes."""
        if not any(key.lower().endswith(".txt") for key in source.keys):
            return False
        labels = _label_files(source, ImageFolders(source))
        full = [key for key in labels if source.keys[key]]
        if labels and not full:
            return any(key.rpartition("/")[2].lower() in YoloNames.LISTS for key in source.keys)
        return any(_holds_boxes(source, key) for key in full[:_LOOKED_AT])

    def notes(self) -> list[str]:
        """What was left out as a whole, in sentences; complete after :meth:`read`."""
        notes = []
        if self._outlines:
            notes.append(f"{self._outlines} outlines or turned boxes are taken as the upright boxes around them")
        left_out = self._delivered[1]
        notes += files_left_out(left_out)
        known = set(self._names.files)
        texts = sorted(key for key in self._source.keys if key.lower().endswith(".txt") and key not in known)
        others = [key for key in texts if not _is_label(key, self._folders)]
        if others:
            notes.append(f"{len(others)} text files belong to no image and are passed over: {short(others[:5])}")
        return notes

    def images(self) -> list[str]:
        """The keys of all files whose names say that they are images."""
        return image_keys(self._source)

    def read(self, task: Task) -> Iterator[Outcome]:
        """Every image that has a file, in the order of the files' names.

        Raises:
            DataError: the files with the classes' names contradict each other.
        """
        self._outlines = 0
        for piece in self.pieces():
            yield from self.read_piece(piece, task)

    def pieces(self) -> Iterator[Piece]:
        """See :class:`airtune.datasets.readers.pieces.Divisible`."""
        return whole_files(self._source, self._delivered[0], _LARGEST_FILE)

    def read_piece(self, piece: Piece, task: Task) -> Iterator[Outcome]:
        """See :class:`airtune.datasets.readers.pieces.Divisible`."""
        sides = self._delivered[0]
        for text in read_texts(self._source, piece):
            place = Place(file=text.key, line=1, split=sides[text.key])
            named: tuple[str, ...] = ()
            try:
                named = (self._image(text.key),)
                if not isinstance(text.content, bytes):
                    raise text.content or TypeError(f"{text.key} was not read")
                refuse_other_tasks(task)
                truth = truth_of(self._boxes(text.content, self._names))
            except Reject as refusal:
                yield refusal.at(place, named)
                continue
            yield Draft(place=place, images=named, prompt=None, truth=truth, units="fraction")

    def hand_over(self) -> int:
        """See :class:`airtune.datasets.readers.pieces.Divisible`."""
        outlines, self._outlines = self._outlines, 0
        return outlines

    def take_over(self, counted: int) -> None:
        """See :class:`airtune.datasets.readers.pieces.Divisible`."""
        self._outlines += counted

    @functools.cached_property
    def _names(self) -> YoloNames:
        return names_of_classes(self._source)

    @functools.cached_property
    def _delivered(self) -> tuple[dict[str, Split | None], list[str]]:
        """The side of each file, and the files of a test split that are left out."""
        labels, names = _label_files(self._source, self._folders), self._names
        if not names.splits:
            return delivered_by_folder(labels)
        sides: dict[str, Split | None] = {}
        left_out: list[str] = []
        spare = "val" in names.splits
        for key in labels:
            found = names.split_of(self._image_of(key) or _image_stem(key))
            if found == "test" and spare:
                left_out.append(key)
            else:
                sides[key] = None if found is None else "train" if found == "train" else "validation"
        return sides, left_out

    def _image_of(self, key: str) -> str | None:
        return self._folders.of_stem(_image_stem(key)) or self._folders.of_stem(key[: -len(".txt")])

    def _image(self, key: str) -> str:
        found = self._image_of(key)
        if found is None:
            raise Reject("image-missing", f"there is no image {short(_image_stem(key))} with the suffix of one")
        return found

    def _boxes(self, content: bytes, names: YoloNames) -> dict[str, list[list[float]]]:
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Reject("annotation-malformed", f"not UTF-8: byte {error.start + 1} of the file") from error
        boxes: dict[str, list[list[float]]] = {}
        for line, row in enumerate(text.splitlines(), start=1):
            if row.strip():
                try:
                    name, edges = self._object(row.split(), names)
                except Reject as refusal:
                    raise Reject(refusal.reason, f"line {line}: {refusal.message}") from refusal
                boxes.setdefault(name, []).append(edges)
        if not boxes:
            raise Reject("no-object", "the file is empty: the image shows nothing")
        return boxes

    def _object(self, row: list[str], names: YoloNames) -> tuple[str, list[float]]:
        values = [number(word) for word in row]
        if len(values) <= _BOX or None in values:
            raise Reject("annotation-shape", f"not a class and four fractions: {short(' '.join(row))}")
        of, *numbers = [value for value in values if value is not None]
        name = names.name(of)
        if len(numbers) == _BOX or len(numbers) == names.pose:
            x, y, width, height = numbers[:_BOX]
            return name, [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        if len(numbers) % 2 or len(numbers) < 2 * _FEWEST_CORNERS:
            raise Reject(
                "annotation-shape",
                f"{len(numbers)} numbers after the class: a box has 4, an outline an even number from 6 on (a fifth is "
                "a confidence, which a prediction has and a truth has not)",
            )
        self._outlines += 1
        xs, ys = numbers[::2], numbers[1::2]
        return name, [min(xs), min(ys), max(xs), max(ys)]


def _image_stem(label: str) -> str:
    """The key of a label file's image, without its suffix: the last folder ``labels`` is ``images`` there."""
    parts = label[: -len(".txt")].split("/")
    for place in range(len(parts) - 2, -1, -1):
        if parts[place].lower() == "labels":
            return "/".join([*parts[:place], "images", *parts[place + 1 :]])
    return "/".join(parts)


def _is_label(key: str, folders: ImageFolders) -> bool:
    """Whether a text file lies where labels do: in a folder ``labels``, or beside an image of its name."""
    return "labels" in key.lower().split("/")[:-1] or folders.of_stem(key[: -len(".txt")]) is not None


def _label_files(source: Source, folders: ImageFolders) -> list[str]:
    return sorted(
        key
        for key in source.keys
        if key.lower().endswith(".txt")
        and PurePosixPath(key).name.lower() not in YoloNames.LISTS
        and _is_label(key, folders)
    )


def _holds_boxes(source: Source, key: str) -> bool:
    try:
        return _LINE.match(source.head(key, 4096)) is not None
    except Reject:
        return False
