"""COCO: one JSON object with the lists ``images``, ``annotations`` and ``categories``; detection and captions.

::

    {"images": [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}],
     "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [x, y, width, height]},
                     {"id": 2, "image_id": 1, "caption": "A cat on a chair."}],
     "categories": [{"id": 3, "name": "cat"}]}

``bbox`` is in pixels. Boxes of crowds (``iscrowd``) are left out, and that is said: such a box is around many objects
and stands for none. A file may serve both tasks; a split is told from its name (``instances_train2017.json``) or its
folder's (``train/_annotations.coco.json``).

Not read with ``pycocotools``: it parses with ``json.load`` and builds indices of all annotations in Python objects
(several GB for COCO's own training file), and what it adds, masks and COCO's average precision, is not wanted here.
Nor with ``supervision``: it reads every image to get masks, and brings OpenCV.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from typing import Any, ClassVar, Final, NamedTuple

from airtune.datasets.annotations.sentences import class_name
from airtune.datasets.draft import Draft, Outcome, Place, Reject, short, writable
from airtune.datasets.readers import fields
from airtune.datasets.readers.json_document import MalformedError, lists_of
from airtune.datasets.readers.objects import Objects
from airtune.datasets.readers.places import ImageFolders, image_keys, refused, same
from airtune.datasets.readers.splits import delivered, documents_left_out
from airtune.datasets.record import Split
from airtune.datasets.sources.source import Source
from airtune.datasets.sources.text_encoding import as_utf8
from airtune.runspec.tasks import Task

NAME: Final = "coco"

_LISTS: Final = re.compile(rb'"(?:images|annotations|categories)"\s*:\s*\[')
_MARKS: Final = re.compile(rb'"(?:file_name|image_id|category_id|supercategory)"\s*:')
_LOOKED_AT: Final = 20
_EDGES: Final = 4
_NUMBERS: Final = frozenset({int, float})
_CAPTIONED: Final = {Task.FREEFORM: "caption", Task.GENERIC: "text"}


def _looks_right(head: bytes) -> bool:
    """Whether a file that begins so is a COCO document."""
    return head.lstrip().startswith(b"{") and bool(_LISTS.search(head) and _MARKS.search(head))


class CocoReader:
    """Reads COCO documents.

    Args:
        source: the dataset's folder.
    """

    name: ClassVar[str] = NAME

    def __init__(self, source: Source) -> None:
        self._source = source
        self._folders = ImageFolders(source)
        self._sides, self._left_out = delivered(_json_files(source))
        self._crowds = 0
        self._passed_over: list[str] = []
        # A document that was not read to its end is kept: whoever guesses the task reads its beginning several times.
        self._begun: tuple[str, _Document] | None = None

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """Whether one of the first JSON files is a COCO document."""
        return any(is_coco(source, key) for key in _json_files(source)[:_LOOKED_AT])

    def notes(self) -> list[str]:
        """What was left out as a whole, in sentences; complete after :meth:`read`."""
        notes = []
        notes += documents_left_out(self._left_out)
        if self._crowds:
            notes.append(f"{self._crowds} boxes around crowds (iscrowd) are left out: each is around many objects")
        if self._passed_over:
            files = short(self._passed_over[:5])
            notes.append(f"{len(self._passed_over)} JSON files are no COCO documents and are passed over: {files}")
        return notes

    def images(self) -> list[str]:
        """The keys of all files whose names say that they are images."""
        return image_keys(self._source)

    def read(self, task: Task) -> Iterator[Outcome]:
        """Every sample of every document: an image with its boxes, or a caption.

        The line of a sample's place is the number of its image in the list ``images``, counted from 1.
        """
        self._crowds, self._passed_over = 0, []
        for key, split in self._sides.items():
            try:
                if not is_coco(self._source, key):
                    self._passed_over.append(key)
                    continue
                if self._begun is None or self._begun[0] != key:
                    self._begun = key, _Document.read(self._source, key)
                document = self._begun[1]
            except Reject as refusal:
                yield refusal.at(Place(file=key, line=1, split=split))
                continue
            except MalformedError as error:
                yield Reject("annotation-malformed", str(error)).at(Place(file=key, line=error.line, split=split))
                continue
            self._crowds += document.crowds
            yield from self._samples(document, key, split, task)
            self._begun = None

    def _samples(self, document: _Document, key: str, split: Split | None, task: Task) -> Iterator[Outcome]:
        folders = self._folders.of(key, split)
        for line, refusal in document.strays:
            yield refusal.at(Place(file=key, line=line, split=split))
        unknown = document.listed
        for number, found in document.objects.by_image():
            image = document.images.get(number)
            if image is None:
                unknown += 1
                count = found.count + len(document.captions.get(number, ()))
                yield Reject(
                    "annotation-shape", f"{count} annotations of an image {short(number)} that the file does not list"
                ).at(Place(file=key, line=unknown, split=split))
                continue
            place = Place(file=key, line=image.line, split=split)
            keys = refused(image.name)
            try:
                if image.refusal is not None:
                    raise same(image.refusal)
                keys = (self._folders.key(image.name, folders),)
                if task in _CAPTIONED and document.captions:
                    yield from _captions(task, document.captions.get(number), place, keys, image.size)
                elif task is Task.PHRASE_GROUNDING and document.has_boxes:
                    truth = found.truth(document.categories)
                    yield Draft(
                        place=place, images=keys, prompt=None, truth=truth, annotated_size=image.size, units="pixel"
                    )
                else:
                    what = "boxes" if document.has_boxes else "captions"
                    raise Reject("other-task", f"an image with {what} has no sample for {task.value}")
            except Reject as refusal:
                yield refusal.at(place, keys)


def is_coco(source: Source, key: str) -> bool:
    """Whether one file of a dataset is a COCO document, by how it begins."""
    try:
        return _looks_right(as_utf8(source.head(key)))
    except Reject:
        return False


def _json_files(source: Source) -> list[str]:
    return sorted(key for key in source.keys if key.lower().endswith(".json"))


def _captions(
    task: Task, captions: list[Any] | None, place: Place, images: tuple[str, ...], size: tuple[int, int] | None
) -> Iterator[Outcome]:
    if not captions:
        raise Reject("annotation-empty", "the image has no caption")
    for index, caption in enumerate(captions, start=1):
        at = Place(file=place.file, line=place.line, index=index, split=place.split)
        try:
            text = fields.text({"caption": caption}, "caption", empty="answer-empty")
        except Reject as refusal:
            yield refusal.at(at, images)
            continue
        yield Draft(place=at, images=images, prompt=None, truth={_CAPTIONED[task]: writable(text)}, annotated_size=size)


class _Image(NamedTuple):
    line: int
    name: object
    size: tuple[int, int] | None
    refusal: Reject | None


class _Document:
    """A file's content: what is kept of each image is small, whatever else stands in it.

    Attributes:
        images: by their id.
        listed: how many there are.
        categories: names by id.
        captions: by image id.
        objects: boxes by image id, their classes by category id.
        has_boxes: whether any annotation has a box, or is to have one.
        crowds: boxes around crowds, left out.
        strays: what belongs to no image, with its number in its list.
    """

    def __init__(self) -> None:
        self.images: dict[Hashable, _Image] = {}
        self.listed = 0
        self.categories: dict[Hashable, str | Reject] = {}
        self.captions: dict[Hashable, list[Any]] = {}
        self.objects = Objects()
        self.has_boxes = False
        self.crowds = 0
        self.strays: list[tuple[int, Reject]] = []
        self._annotations = 0

    @classmethod
    def read(cls, source: Source, key: str) -> _Document:
        """The content of one file.

        Raises:
            MalformedError: it is not one JSON object.
            Reject: it lies outside the dataset.
        """
        document = cls()
        take = {"images": document._image, "categories": document._category, "annotations": document._annotation}
        for name, batch in lists_of(source.text_parts(key)):
            one = take.get(name)
            if one is not None:
                for value in batch:
                    one(value)
        document.has_boxes = document.has_boxes or not document.captions
        return document

    def _image(self, row: Any) -> None:
        self.listed += 1
        number = _id(row, "id")
        if number is None:
            self.strays.append((self.listed, _shape(f"an image without an id: {short(row)}")))
            return
        if number in self.images:
            twice = _shape(f"the id {short(number)} is that of several images")
            self.images[number] = self.images[number]._replace(refusal=twice)
            self.strays.append((self.listed, twice))
            return
        try:
            self.images[number] = _Image(self.listed, row.get("file_name"), fields.stated_size(row), None)
        except Reject as refusal:
            self.images[number] = _Image(self.listed, row.get("file_name"), None, refusal)
        self.objects.see(number)

    def _category(self, row: Any) -> None:
        number = _id(row, "id")
        if number is None:
            return  # what is of this category will be refused
        try:
            name: str | Reject = class_name(fields.text(row, "name", empty="annotation-shape"))
        except Reject as refusal:
            name = refusal
        if self.categories.setdefault(number, name) != name:
            self.categories[number] = _shape(f"the id {short(number)} is that of several categories")

    def _annotation(self, row: Any) -> None:
        # There may be millions: what is as it should be takes the shortest way.
        self._annotations += 1
        image = _id(row, "image_id")
        if image is None:
            self.strays.append((self._annotations, _shape(f"an annotation without an image_id: {short(row)}")))
        elif "bbox" in row:
            self.has_boxes = True
            if row.get("iscrowd"):
                self.crowds += 1
                self.objects.see(image)
            else:
                self._box(image, row["bbox"], _id(row, "category_id"))
        elif "caption" in row:
            self.captions.setdefault(image, []).append(row["caption"])
            self.objects.see(image)
        else:
            self.has_boxes = True
            self.objects.flaw(image, _shape(f"annotation {self._annotations} has neither bbox nor caption"))

    def _box(self, image: Hashable, bbox: Any, category: Hashable | None) -> None:
        if category is None:
            self.objects.flaw(image, _shape(f"annotation {self._annotations} has no category_id"))
        elif type(bbox) is list and len(bbox) == _EDGES and _NUMBERS.issuperset(map(type, bbox)):
            x, y, width, height = bbox
            self.objects.add(image, category, x, y, x + width, y + height)
        else:
            self.objects.flaw(image, Reject("box-shape", f"bbox is not [x, y, width, height]: {short(bbox)}"))


def _id(row: Any, key: str) -> Hashable | None:
    value = row.get(key) if type(row) is dict else None
    if type(value) is float and value.is_integer():  # as tables write them that have gaps
        return int(value)
    return value if type(value) is int or type(value) is str else None


def _shape(message: str) -> Reject:
    return Reject("annotation-shape", message)
