"""Annotation files in pieces that several processes can read: small files together, large ones cut.

Files of JSON lines are cut at the ends of lines, and lists that are too large to be read whole between their elements;
a piece knows the number of its first line.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Protocol, runtime_checkable

import orjson

from airtune.datasets.draft import Outcome, Reject
from airtune.datasets.readers.json_document import MalformedError, elements_of
from airtune.datasets.readers.json_lines import WHOLE_FILE, begins_with_line, json_lines
from airtune.datasets.sources.source import Source
from airtune.runspec.tasks import Task

PIECE: Final = 4 * 1024 * 1024
"""Bytes of a piece, about."""

LONGEST: Final = WHOLE_FILE
"""Bytes that a line, or a document that cannot be cut, may have."""

_FILES: Final = 500


@dataclass(frozen=True, slots=True)
class Text:
    """A file's text, or a part of it.

    Attributes:
        key: of the file.
        content: in UTF-8; or why it cannot be read; None: it is still to be read, whole.
        line: number of its first line, counted from 1.
        cut: whether it is a part, which holds whole lines.
    """

    key: str
    content: bytes | Reject | None
    line: int = 1
    cut: bool = False

    def values(self) -> Iterator[tuple[int, Any]]:
        """Its values with their line numbers, see :func:`airtune.datasets.readers.json_lines.json_lines`."""
        if not isinstance(self.content, bytes):
            raise TypeError(f"{self.key} was not read")
        return json_lines(self.content, self.line, lines_only=self.cut)


Piece = tuple[Text, ...]


@runtime_checkable
class Divisible(Protocol):
    """A reader whose files can be read by several processes. It can be pickled, without what it has read."""

    def pieces(self) -> Iterator[Piece]:
        """All files in pieces, in their order."""

    def read_piece(self, piece: Piece, task: Task) -> Iterator[Outcome]:
        """Every sample of a piece, usable or not, in its order."""

    def hand_over(self) -> Any:
        """What it has counted while reading, for its notes; it begins anew."""

    def take_over(self, counted: Any) -> None:
        """Add what another one, with the same files, has counted."""


def pieces_of(source: Source, keys: Iterable[str], piece: int = PIECE) -> Iterator[Piece]:
    """The files in pieces, in their order.

    Args:
        source: the dataset.
        keys: of annotation files.
        piece: bytes of a piece, about.
    """
    together: list[Text] = []
    size = 0
    for key in keys:
        large = source.keys[key] > piece
        if together and (large or size + source.keys[key] > piece or len(together) >= _FILES):
            yield tuple(together)
            together, size = [], 0
        if large:
            yield from _cut(source, key, piece)
        else:
            together.append(Text(key, None))
            size += source.keys[key]
    if together:
        yield tuple(together)


def whole_files(source: Source, keys: Iterable[str], most: int, piece: int = PIECE) -> Iterator[Piece]:
    """Files of one annotation each, none of them cut, in their order.

    Args:
        source: the dataset.
        keys: of the files.
        most: bytes that one of them may have; a larger one is refused unread.
        piece: bytes of a piece, about.
    """
    together: list[Text] = []
    size = 0
    for key in keys:
        length = source.keys[key]
        if together and (size + length > piece or len(together) >= _FILES):
            yield tuple(together)
            together, size = [], 0
        if length > most:
            what = f"the file has {length:,} bytes, more than any annotation of one image"
            together.append(Text(key, Reject("annotation-malformed", what)))
        else:
            together.append(Text(key, None))
            size += length
    if together:
        yield tuple(together)


def read_texts(source: Source, piece: Piece) -> Iterator[Text]:
    """The texts of a piece, those that are still to be read from the source."""
    unread = source.read_many(text.key for text in piece if text.content is None)
    for text in piece:
        yield Text(*next(unread)) if text.content is None else text


def _cut(source: Source, key: str, piece: int) -> Iterator[Piece]:
    """A large file, in pieces if it has lines, or if it is one list."""
    try:
        parts = source.text_parts(key, piece)
        held = next(parts, b"").removeprefix(codecs.BOM_UTF8)
        while b"\n" not in held.lstrip() and len(held) <= LONGEST and (part := next(parts, b"")):
            held += part
        large = source.keys[key] > LONGEST
        if large and held.lstrip().startswith(b"["):
            yield from _elements(key, chain([held], parts))
        elif begins_with_line(held) or len(held) > LONGEST:
            yield from _lines(key, held, parts)
        elif not large:
            yield (Text(key, b"".join((held, *parts))),)
        else:
            raise _too_long("a document that is neither lines nor a list")
    except Reject as refusal:
        yield (Text(key, refusal),)


def _lines(key: str, held: bytes, parts: Iterable[bytes]) -> Iterator[Piece]:
    line = 1
    for part in parts:
        end = held.rfind(b"\n") + 1
        if end:
            yield (Text(key, held[:end], line, cut=True),)
            line += held.count(b"\n")
            held = held[end:]
        held += part
        if len(held) > LONGEST and b"\n" not in held[:LONGEST]:
            yield (Text(key, _too_long("a line"), line),)
            line += 1
            held = _after_line(held, parts)
    yield (Text(key, held, line, cut=True),)


def _after_line(held: bytes, parts: Iterable[bytes]) -> bytes:
    """What follows the end of the line that ``held`` begins with, as far as it was read; the line itself is let go."""
    for part in chain([held], parts):
        _, found, rest = part.partition(b"\n")
        if found:
            return rest
    return b""


def _elements(key: str, parts: Iterable[bytes]) -> Iterator[Piece]:
    """A list, as lines: the number of an element stands for its line, as in a small file."""
    number = 1
    try:
        for batch in elements_of(parts):
            yield (Text(key, b"\n".join(map(_line, batch)), number, cut=True),)
            number += len(batch)
    except MalformedError as error:
        yield (Text(key, Reject("annotation-malformed", str(error)), number),)


def _line(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # a number of more than 64 bits
        return json.dumps(value, ensure_ascii=False).encode("utf-8", errors="replace")


def _too_long(what: str) -> Reject:
    return Reject("annotation-malformed", f"{what} of more than {LONGEST:,} bytes")
