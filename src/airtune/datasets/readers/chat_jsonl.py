"""Chat JSONL: one conversation a line, as TRL, ms-swift (``messages``) and LLaMA-Factory (``conversations``) read it.

::

    {"messages": [{"role": "user", "content": "<image>How many?"}, {"role": "assistant", "content": "Two"}],
     "images": ["images/a.jpg"]}

A file may also be a JSON array of conversations. :mod:`airtune.datasets.readers.conversations` has all their shapes,
and :mod:`airtune.datasets.readers.splits` how a file's name delivers its split. For the task video-freeform a
conversation shows one video (``"videos": ["videos/a.mp4"]``, ``<video>`` in the text) and no image; for the task
generic it may show nothing at all.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import ClassVar, Final

from airtune.datasets.draft import Outcome, Place, Reject, short
from airtune.datasets.readers.conversations import Conversations, Locate, is_conversation
from airtune.datasets.readers.pieces import PIECE, Piece, pieces_of, read_texts
from airtune.datasets.readers.splits import delivered, documents_left_out
from airtune.datasets.sources.source import Source
from airtune.runspec.tasks import Task

NAME: Final = "chat-jsonl"

_SUFFIXES: Final = (".jsonl", ".ndjson", ".json")
_IMAGES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jp2", ".avif", ".heic")
_LOOKED_AT: Final = 50
_HEAD: Final = 256 * 1024
_FIRST_LINES: Final = 20
_MARKS: Final = re.compile(r'"(?:messages|conversations)"')
"""In a value that breaks off or is malformed."""
_INDEXES: Final = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})
"""Files that trainers and libraries keep beside the data, and that speak of conversations without holding any."""
_SIDECAR: Final = "metadata."
"""``metadata.jsonl`` of an image folder has one row an image (see :mod:`airtune.datasets.readers.huggingface`)."""


class ChatReader:
    """Reads chat JSONL.

    Args:
        source: the dataset's folder.
    """

    name: ClassVar[str] = NAME

    def __init__(self, source: Source) -> None:
        self._source = source
        self._conversations = Conversations(Task.GENERIC)
        self._passed_over: list[str] = []
        self._sides, self._left_out = delivered(_json_files(source))

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """Whether one of the first JSON files holds conversations."""
        files = [key for key in _json_files(source) if not PurePosixPath(key).name.startswith(_SIDECAR)]
        return any(_looks_right(source, key) for key in files[:_LOOKED_AT])

    def notes(self) -> list[str]:
        """What was left out as a whole, in sentences; complete after :meth:`read`."""
        notes = self._conversations.notes()
        notes += documents_left_out(self._left_out)
        if self._passed_over:
            files = short(self._passed_over[:5])
            notes.append(f"{len(self._passed_over)} JSON files hold no conversations and are passed over: {files}")
        return notes

    def images(self) -> list[str]:
        """The keys of all files whose names say that they are images."""
        return [key for key in self._source.keys if key.lower().endswith(_IMAGES)]

    def read(self, task: Task) -> Iterator[Outcome]:
        """Every sample of every file, usable or not, in the order of the files' names."""
        self._conversations = Conversations(task)
        self._passed_over = []
        for piece in self.pieces():
            yield from self.read_piece(piece, task)

    def pieces(self) -> Iterator[Piece]:
        """See :class:`airtune.datasets.readers.pieces.Divisible`."""
        files = []
        for key in self._sides:
            # Of a file in several pieces only the first tells what it holds.
            if self._source.keys[key] > PIECE and not _may_hold_conversations(self._source, key):
                self._passed_over.append(key)
            else:
                files.append(key)
        return pieces_of(self._source, files)

    def read_piece(self, piece: Piece, task: Task) -> Iterator[Outcome]:
        """See :class:`airtune.datasets.readers.pieces.Divisible`."""
        if self._conversations.task is not task:
            self._conversations = Conversations(task)
        for text in read_texts(self._source, piece):
            split = self._sides[text.key]
            if isinstance(text.content, Reject):
                yield text.content.at(Place(file=text.key, line=text.line, split=split))
            elif text.content is not None and not text.cut and not _holds_conversations(text.content):
                self._passed_over.append(text.key)
            else:
                locate = _locator(self._source, text.key)
                for line, value in text.values():
                    yield from self._conversations.samples(value, Place(file=text.key, line=line, split=split), locate)

    def hand_over(self) -> tuple[tuple[int, ...], list[str]]:
        """See :class:`airtune.datasets.readers.pieces.Divisible`."""
        passed_over, self._passed_over = self._passed_over, []
        return self._conversations.hand_over(), passed_over

    def take_over(self, counted: tuple[tuple[int, ...], list[str]]) -> None:
        """See :class:`airtune.datasets.readers.pieces.Divisible`."""
        self._conversations.take_over(counted[0])
        self._passed_over += counted[1]


def _json_files(source: Source) -> list[str]:
    return sorted(
        key
        for key in source.keys
        if key.lower().endswith(_SUFFIXES) and PurePosixPath(key).name.lower() not in _INDEXES
    )


def _may_hold_conversations(source: Source, key: str) -> bool:
    try:
        return _holds_conversations(source.head(key, _HEAD))
    except Reject:
        return True  # it cannot be read, which is said where it is tried


def _looks_right(source: Source, key: str) -> bool:
    try:
        return _holds_conversations(source.head(key, _HEAD))
    except Reject:
        return False


def _holds_conversations(head: bytes) -> bool:
    """Whether one of a file's first values is a conversation, or looks as if it was meant to be one."""
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = head[:_HEAD].decode("utf-16" if wide else "utf-8-sig", errors="replace").lstrip()
    if text.startswith("["):
        return _begins_conversation(text[1:].lstrip())
    return _begins_conversation(text) or any(map(_begins_conversation, text.split("\n", _FIRST_LINES)[1:_FIRST_LINES]))


def _begins_conversation(text: str) -> bool:
    try:
        return is_conversation(json.JSONDecoder().raw_decode(text.lstrip())[0])
    except (ValueError, RecursionError):
        return _MARKS.search(text) is not None


def _locator(source: Source, file: str) -> Locate:
    """Finds what a file names: beside it, from the root, or in a folder ``images`` or ``videos`` beside it."""
    parent = PurePosixPath(file).parent.as_posix()
    folder = "" if parent == "." else parent
    below = [f"{folder}/{name}" if folder else name for name in ("images", "videos")]
    folders = list(dict.fromkeys([folder, "", *below]))
    found: dict[object, str] = {}

    def locate(name: object) -> str:
        if isinstance(name, str):
            key = found.get(name)
            if key is None:
                key = found[name] = source.image_key(name, folders)
            return key
        return source.image_key(name, folders)

    return locate
