"""Pascal VOC: one XML file an image, as the challenge, LabelImg, CVAT and Roboflow write it.

::

    <annotation>
      <filename>a.jpg</filename>
      <size><width>640</width><height>480</height><depth>3</depth></size>
      <object><name>cat</name><bndbox><xmin>64</xmin><ymin>96</ymin><xmax>320</xmax><ymax>288</ymax></bndbox></object>
    </annotation>

Coordinates are taken as they stand. The challenge itself counted pixels from 1, today's tools count from 0, and the
files do not say which: the difference is one pixel. ``difficult`` and ``truncated`` objects are objects; the parts of
an object are not.

``ImageSets/Main/{train,val,trainval,test}.txt`` deliver the split where they are there, otherwise the folders' names.

Read with ``defusedxml``, which refuses entities and document types: XML can name other files and grow without end.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, ClassVar, Final
from xml.etree.ElementTree import ParseError

from airtune.datasets.annotations.sentences import class_name, truth_of
from airtune.datasets.draft import Draft, Outcome, Place, Reject, short
from airtune.datasets.readers import fields
from airtune.datasets.readers.objects import number, refuse_other_tasks
from airtune.datasets.readers.pieces import Piece, read_texts, whole_files
from airtune.datasets.readers.places import ImageFolders, image_keys, refused
from airtune.datasets.readers.splits import delivered_by_folder, files_left_out
from airtune.datasets.record import Split
from airtune.datasets.sources.source import Source
from airtune.datasets.sources.text_encoding import as_utf8
from airtune.runspec.tasks import Task

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

NAME: Final = "voc"

_MARK: Final = re.compile(rb"<annotation[\s>]")
_LOOKED_AT: Final = 20
_LARGEST_FILE: Final = 16 * 1024 * 1024
_LISTS: Final = re.compile(r"(?:(?P<base>.*)/)?ImageSets/Main/(?P<name>train|val|trainval|test)\.txt")
_EDGES: Final = ("xmin", "ymin", "xmax", "ymax")


class VocReader:
    """Reads Pascal VOC.

    Args:
        source: the dataset's folder.
    """

    name: ClassVar[str] = NAME

    def __init__(self, source: Source) -> None:
        self._source = source
        self._folders = ImageFolders(source)
        self._passed_over: list[str] = []
        self._near: dict[tuple[str, Split | None], list[str]] = {}

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """Whether one of the first XML files is an annotation."""
        return any(_is_annotation(source, key) for key in _xml_files(source)[:_LOOKED_AT])

    def notes(self) -> list[str]:
        """What was left out as a whole, in sentences; complete after :meth:`read`."""
        notes = []
        _, left_out, unlisted = self._delivered
        notes += files_left_out(left_out)
        if unlisted:
            notes.append(f"{unlisted} annotations stand in none of the lists of ImageSets/Main")
        if self._passed_over:
            files = short(self._passed_over[:5])
            notes.append(f"{len(self._passed_over)} XML files are no annotations and are passed over: {files}")
        return notes

    def images(self) -> list[str]:
        """The keys of all files whose names say that they are images."""
        return image_keys(self._source)

    def read(self, task: Task) -> Iterator[Outcome]:
        """Every image that is annotated, in the order of the files' names."""
        self._passed_over = []
        for piece in self.pieces():
            yield from self.read_piece(piece, task)

    def pieces(self) -> Iterator[Piece]:
        """See :class:`airtune.datasets.readers.pieces.Divisible`."""
        return whole_files(self._source, self._delivered[0], _LARGEST_FILE)

    def read_piece(self, piece: Piece, task: Task) -> Iterator[Outcome]:
        """See :class:`airtune.datasets.readers.pieces.Divisible`."""
        sides, _, _ = self._delivered
        for text in read_texts(self._source, piece):
            key, place = text.key, Place(file=text.key, line=1, split=sides[text.key])
            named: tuple[str, ...] = ()
            try:
                if not isinstance(text.content, bytes):
                    raise text.content or TypeError(f"{key} was not read")
                root = _parsed(text.content)
                if root.tag != "annotation":
                    self._passed_over.append(key)
                    continue
                near = (key.rpartition("/")[0], place.split)
                if near not in self._near:
                    self._near[near] = self._folders.of(key, place.split)
                # A file that names no image is named for it.
                name = (root.findtext("filename") or "").strip() or PurePosixPath(key).stem
                named = refused(name)
                named = (self._folders.key(name, self._near[near]),)
                refuse_other_tasks(task)
                size = fields.stated_size(_size(root))
                truth = truth_of(_boxes(root))
            except Reject as refusal:
                yield refusal.at(place, named)
                continue
            yield Draft(place=place, images=named, prompt=None, truth=truth, annotated_size=size, units="pixel")

    def hand_over(self) -> list[str]:
        """See :class:`airtune.datasets.readers.pieces.Divisible`."""
        passed_over, self._passed_over = self._passed_over, []
        return passed_over

    def take_over(self, counted: list[str]) -> None:
        """See :class:`airtune.datasets.readers.pieces.Divisible`."""
        self._passed_over += counted

    @functools.cached_property
    def _delivered(self) -> tuple[dict[str, Split | None], list[str], int]:
        """The side of each file, the files of a test split that are left out, and how many no list names."""
        files = _xml_files(self._source)
        lists = self._lists()
        if not lists:
            return (*delivered_by_folder(files), 0)
        sides: dict[str, Split | None] = {}
        left_out: list[str] = []
        unlisted = 0
        spare = any(split == "val" for by_stem in lists.values() for split in by_stem.values())
        for key in files:
            path = PurePosixPath(key)
            by_stem = lists.get("" if len(path.parts) < 3 else path.parent.parent.as_posix(), {})
            split = by_stem.get(path.stem)
            if split == "test" and spare:
                left_out.append(key)
                continue
            unlisted += split is None
            sides[key] = "validation" if split in ("val", "test") else None if split is None else "train"
        return sides, left_out, unlisted

    def _lists(self) -> dict[str, dict[str, str]]:
        """The split of each stem, by the folder that holds ``ImageSets`` and ``Annotations``."""
        lists: dict[str, dict[str, str]] = {}
        wanted = {key: match for key in sorted(self._source.keys) if (match := _LISTS.fullmatch(key))}
        for key, content in self._source.read_many(wanted):
            match = wanted[key]
            if isinstance(content, bytes):
                by_stem = lists.setdefault(match["base"] or "", {})
                for line in content.decode("utf-8", errors="replace").splitlines():
                    stem = line.strip()
                    # The finer list counts: trainval holds train and val once more.
                    if stem and (match["name"] != "trainval" or stem not in by_stem):
                        by_stem[stem] = match["name"]
        return lists


def _xml_files(source: Source) -> list[str]:
    return sorted(key for key in source.keys if key.lower().endswith(".xml"))


def _is_annotation(source: Source, key: str) -> bool:
    try:
        return _MARK.search(as_utf8(source.head(key, 4096))) is not None
    except Reject:
        return False


def _parsed(content: bytes) -> Element:
    from defusedxml import DefusedXmlException  # type: ignore[import-untyped]
    from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

    try:
        text: str | bytes = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content  # the file's first line may name another encoding
    try:
        root: Element = fromstring(text, forbid_dtd=True)
    except ParseError as error:
        line, column = error.position
        what = str(error).partition(":")[0]
        raise Reject("annotation-malformed", f"malformed XML in line {line}, column {column + 1}: {what}") from error
    except DefusedXmlException as error:
        raise Reject(
            "annotation-malformed", "the file declares a document type or entities, which are refused"
        ) from error
    except (ValueError, LookupError, RecursionError) as error:
        raise Reject("annotation-malformed", f"the file cannot be read: {str(error)[:100]}") from error
    return root


def _size(root: Element) -> dict[str, float | str | None]:
    size = root.find("size")
    if size is None:
        return {}
    return {side: _pixels(size.findtext(side)) for side in ("width", "height")}


def _pixels(text: str | None) -> float | str | None:
    if text is None or not text.strip():
        return None
    value = number(text.strip())
    return text if value is None else value


def _boxes(root: Element) -> dict[str, list[list[float]]]:
    boxes: dict[str, list[list[float]]] = {}
    for thing in root.findall("object"):
        name = class_name(thing.findtext("name") or "")
        box = thing.find("bndbox")
        if box is None:
            what = ", ".join(sorted({child.tag for child in thing if isinstance(child.tag, str)})) or "nothing"
            raise Reject("box-shape", f"an object {short(name)} has no bndbox; there is {what[:100]}")
        boxes.setdefault(name, []).append([_edge(box, edge) for edge in _EDGES])
    if not boxes:
        raise Reject("no-object", "the image has no object")
    return boxes


def _edge(box: Element, name: str) -> float:
    text = box.findtext(name)
    value = number(text.strip()) if text is not None else None
    if value is None:
        raise Reject("box-shape", f"{name} is not a number: {short(text)}")
    return value
