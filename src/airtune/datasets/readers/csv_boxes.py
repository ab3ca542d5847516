"""CSV with one box a line, in both forms.

::

    filename,xmin,ymin,xmax,ymax,class          filename,x,y,width,height,class
    a.jpg,64,96,320,288,cat                     a.jpg,64,96,256,192,cat

``x`` and ``y`` are the upper left corner. The first line names the columns, in any order and with the usual other names
(``x1``, ``label``, ``image_path`` ...); ``image_width`` and ``image_height`` (or, beside four corners, ``width`` and
``height``, as TensorFlow's examples have it) state the image's size, and ``split`` its split. Without such a line the
columns are the six above, and the numbers tell the form: where every box has its third number above its first and its
fourth above its second they are corners. Commas, semicolons or tabs part the columns.

Coordinates are pixels, or fractions where no number of the file's first thousand boxes is above one. A line that names
an image and nothing else says that the image shows nothing. A sample's line is that of its image's first box.
"""

from __future__ import annotations

import csv
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import ClassVar, Final

from airtune.datasets.annotations.boxes import Units
from airtune.datasets.annotations.sentences import class_name
from airtune.datasets.draft import Draft, Outcome, Place, Reject, short
from airtune.datasets.readers.csv_columns import Columns, columns_of, delimiter_of
from airtune.datasets.readers.objects import Objects, number, refuse_other_tasks
from airtune.datasets.readers.places import ImageFolders, image_keys, refused
from airtune.datasets.readers.splits import delivered, documents_left_out
from airtune.datasets.record import Split
from airtune.datasets.sources.source import Source
from airtune.datasets.sources.text_encoding import as_utf8
from airtune.runspec.tasks import Task

NAME: Final = "csv"

_SUFFIXES: Final = (".csv", ".tsv")
_LOOKED_AT: Final = 20
_LARGEST_FRACTION: Final = 1.5
_DECIDING: Final = 1000
_LONGEST_LINE: Final = 1024 * 1024


class CsvReader:
    """Reads CSV files of boxes.

    Args:
        source: the dataset's folder.
    """

    name: ClassVar[str] = NAME

    def __init__(self, source: Source) -> None:
        self._source = source
        self._folders = ImageFolders(source)
        self._sides, self._left_out = delivered(_csv_files(source))
        self._passed_over: list[str] = []
        self._guessed: list[str] = []
        # A file that was not read to its end is kept: whoever guesses the task reads its beginning several times.
        self._begun: tuple[str, _Table] | None = None

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """Whether one of the first CSV files has the columns of boxes."""
        return any(_columns(source, key) is not None for key in _csv_files(source)[:_LOOKED_AT])

    def notes(self) -> list[str]:
        """What was left out as a whole or guessed, in sentences; complete after :meth:`read`."""
        notes = list(self._guessed)
        notes += documents_left_out(self._left_out)
        if self._passed_over:
            files = short(self._passed_over[:5])
            notes.append(f"{len(self._passed_over)} CSV files hold no boxes and are passed over: {files}")
        return notes

    def images(self) -> list[str]:
        """The keys of all files whose names say that they are images."""
        return image_keys(self._source)

    def read(self, task: Task) -> Iterator[Outcome]:
        """Every image of every file, in the order of the files' names and of the images in them."""
        self._passed_over, self._guessed = [], []
        for key, split in self._sides.items():
            columns = _columns(self._source, key)
            if columns is None:
                self._passed_over.append(key)
                continue
            try:
                if self._begun is None or self._begun[0] != key:
                    self._begun = key, _Table.of(columns, self._source.text_parts(key))
                table = self._begun[1]
            except Reject as refusal:
                yield refusal.at(Place(file=key, line=1, split=split))
                continue
            if not columns.named:
                form = "corners" if table.corners else "a corner, width and height"
                self._guessed.append(f"{key} does not name its columns: by its numbers they are read as {form}")
            yield from self._samples(table, key, split, task)
            self._begun = None

    def _samples(self, table: _Table, key: str, split: Split | None, task: Task) -> Iterator[Outcome]:
        for line, refusal in table.strays:
            yield refusal.at(Place(file=key, line=line, split=split))
        near: dict[Split | None, list[str]] = {}
        units = table.units
        for name, found in table.objects.by_image():
            line, size, side = table.images[str(name)]
            side = side if side is not None else split
            if side not in near:
                near[side] = self._folders.of(key, side)
            place = Place(file=key, line=line, split=side)
            keys = refused(name)
            try:
                keys = (self._folders.key(name, near[side]),)
                refuse_other_tasks(task)
                if isinstance(size, Reject):
                    raise Reject(size.reason, size.message)
                truth = found.truth(table.names)
            except Reject as refusal:
                yield refusal.at(place, keys)
                continue
            if not table.corners:
                _to_corners(truth["groundings"])
            yield Draft(place=place, images=keys, prompt=None, truth=truth, annotated_size=size, units=units)


def _to_corners(groundings: list[dict[str, list[list[float]]]]) -> None:
    for item in groundings:
        item["boxes"] = [[x, y, x + width, y + height] for x, y, width, height in item["boxes"]]


class _Table:
    """One file, read whole: boxes by image, and what the numbers tell of their form and units."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self.objects = Objects()
        self.images: dict[str, tuple[int, tuple[int, int] | Reject | None, Split | None]] = {}
        self.strays: list[tuple[int, Reject]] = []
        self.corners = columns.corners
        self.names: dict[Hashable, str | Reject] = {}
        self._boxes = 0
        self._fractions = 0

    @property
    def units(self) -> Units:
        """Of all boxes of the file."""
        return "fraction" if self._fractions * 2 > min(self._boxes, _DECIDING) else "pixel"

    @classmethod
    def of(cls, columns: Columns, parts: Iterable[bytes]) -> _Table:
        """The content of a file.

        Raises:
            Reject: it has a line that is too long for one.
        """
        table = cls(columns)
        begun = not columns.named
        for line, text in enumerate(_lines(parts), start=1):
            if not text.strip():
                continue
            if begun:
                table._line(text, line)
            begun = True
        return table

    def _line(self, text: bytes, line: int) -> None:
        try:
            row = _cells(text.decode("utf-8"), self._columns.delimiter)
        except UnicodeDecodeError as error:
            self._broken(text, line, f"not UTF-8: byte {error.start + 1} of line {line}")
        except csv.Error as error:
            self._broken(text, line, f"malformed CSV in line {line}: {error}")
        else:
            if any(map(str.strip, row)):
                self._row(row, line)

    def _broken(self, text: bytes, line: int, message: str) -> None:
        """What cannot be parted into cells is still about an image, if its beginning can be read."""
        refusal = Reject("annotation-malformed", message)
        name = text.decode("utf-8", errors="replace").split(self._columns.delimiter)[0].strip(' "\r\n')
        if self._columns.file == 0 and name:
            self.images.setdefault(name, (line, None, None))
            self.objects.flaw(name, refusal)
        else:
            self.strays.append((line, refusal))

    def _row(self, row: list[str], line: int) -> None:
        columns = self._columns
        name = row[columns.file].strip() if len(row) > columns.file else ""
        if not name:
            self.strays.append((line, Reject("image-not-named", "the line names no image")))
            return
        if name not in self.images:
            self.images[name] = (line, columns.size(row), columns.split(row))
            self.objects.see(name)
        if len(row) <= columns.last:
            self._flaw(name, line, f"{len(row)} columns instead of {columns.last + 1}: {short(row)}")
            return
        texts = [row[place].strip() for place in columns.numbers]
        label = row[columns.label].strip()
        if not any(texts) and not label:
            return  # an image that shows nothing
        edges = [number(text) for text in texts]
        if None in edges:
            self._flaw(name, line, f"not four numbers: {short(texts)}")
        else:
            self._add(name, label, [edge for edge in edges if edge is not None])

    def _flaw(self, name: str, line: int, message: str) -> None:
        self.objects.flaw(name, Reject("annotation-shape", f"line {line}: {message}"))

    def _add(self, name: str, label: str, edges: Sequence[float]) -> None:
        if label not in self.names:
            try:
                self.names[label] = class_name(label)
            except Reject as refusal:
                self.names[label] = refusal
        self.objects.add(name, label, *edges)
        self._boxes += 1
        if self._boxes <= _DECIDING:
            left, top, right, bottom = edges
            reach = (right, bottom) if self.corners else (left + right, top + bottom)
            self._fractions += max(map(abs, (*edges, *reach))) <= _LARGEST_FRACTION
        if not self._columns.named and (edges[2] <= edges[0] or edges[3] <= edges[1]):
            self.corners = False


def _lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            raise Reject("annotation-malformed", f"a line of more than {_LONGEST_LINE:,} bytes")
        yield from lines
    yield rest


def _cells(text: str, delimiter: str) -> list[str]:
    text = text.rstrip("\r").removeprefix("\ufeff")
    if '"' not in text:
        return text.split(delimiter)
    return next(csv.reader([text], delimiter=delimiter, strict=True), [])


def _csv_files(source: Source) -> list[str]:
    return sorted(key for key in source.keys if key.lower().endswith(_SUFFIXES))


def _columns(source: Source, key: str) -> Columns | None:
    """The columns of a file, or None where it has no boxes."""
    try:
        head = as_utf8(source.head(key)).decode("utf-8", errors="replace")
        first = next((line for line in head.split("\n") if line.strip()), "")
        delimiter = delimiter_of(first)
        return columns_of(_cells(first, delimiter), delimiter)
    except (Reject, csv.Error):
        return None
