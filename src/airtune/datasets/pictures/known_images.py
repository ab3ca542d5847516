"""What was found out about images and videos, kept between runs: nothing that has not changed is looked at twice.

Two tables in one SQLite file in airtune's home: which content (sha256) a file had when it had a certain version, and
what was found in that content. The first saves reading a file, the second decoding one that was moved or copied.
Training does not rely on either: it holds every file against its digest.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import orjson

from airtune.datasets.draft import Reject
from airtune.datasets.pictures import decoding, image_facts, image_formats, signature, videos
from airtune.datasets.pictures.image_facts import Content, ImageFacts
from airtune.datasets.pictures.videos import VideoFacts

_LOG: Final = logging.getLogger("airtune.datasets")

_KEPT_S: Final = 180 * 86_400
"""Seconds after which a dataset that nobody has looked at is forgotten."""

_AT_ONCE: Final = 500
_PATIENCE_S: Final = 30.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS rules (text TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS roots (id INTEGER PRIMARY KEY, uri TEXT UNIQUE, used REAL);
CREATE TABLE IF NOT EXISTS files (
    root INTEGER, key TEXT, version TEXT, digest BLOB, PRIMARY KEY (root, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (digest BLOB PRIMARY KEY, found BLOB) WITHOUT ROWID;
"""


class KnownImages:
    """What is known of the files below one root. Usable from several threads, and by several processes.

    A file that cannot be used (no room, damaged, a disk without locks) is as good as an empty one: everything is
    looked at then, and one line in the log says so.

    Args:
        path: the SQLite file, which is made when it is missing.
        root_uri: whose keys are meant.
    """

    def __init__(self, path: Path, root_uri: str) -> None:
        self._path = path
        self._root_uri = root_uri
        self._lock = threading.Lock()
        self._new: list[tuple[str, str, bytes, bytes | None]] = []
        self._database: sqlite3.Connection | None = None
        self._root = 0
        with self._given_up_on_error():
            self._open(root_uri)

    @classmethod
    @contextmanager
    def at(cls, path: Path, root_uri: str) -> Iterator[KnownImages]:
        """The same, written and closed at the end, also after Ctrl-C."""
        known = cls(path, root_uri)
        try:
            yield known
        finally:
            known.close()

    def unchanged(self, versions: Mapping[str, str]) -> Iterator[tuple[str, Content]]:
        """What is known of files that still have the version at which they were looked at.

        Args:
            versions: by key, see :meth:`airtune.datasets.pictures.image_files.ImageFiles.versions`.
        """
        keys = list(versions)
        for start in range(0, len(keys), _AT_ONCE):
            for key, seen, _, found in self._known(keys[start : start + _AT_ONCE]):
                if versions[key] == seen:
                    yield key, _content(found)

    def content(self, digest: str) -> Content | None:
        """What is known of the content with this sha256 (hex), whatever file it is in."""
        with self._given_up_on_error():
            if self._database is not None:
                query = "SELECT found FROM contents WHERE digest = ?"
                row = self._database.execute(query, (bytes.fromhex(digest),)).fetchone()
                return _content(row[0]) if row else None
        return None

    def remember(self, key: str, seen: str | None, digest: str, content: Content | None) -> None:
        """Keep what was found.

        Args:
            key: the file.
            seen: its version before it was read; None keeps nothing about the file.
            digest: sha256 (hex) of its content.
            content: what was found in it; None where that was known.
        """
        self._new.append((key if seen else "", seen or "", bytes.fromhex(digest), _bytes(content) if content else None))
        if len(self._new) >= _AT_ONCE:
            self._write()

    def hand_over(self, keys: Sequence[str], path: Path) -> None:
        """Write what is known of some files to a new file of this kind."""
        path.unlink(missing_ok=True)
        with KnownImages.at(path, self._root_uri) as other:
            for start in range(0, len(keys), _AT_ONCE):
                other._new = [*self._known(keys[start : start + _AT_ONCE])]
                other._write()

    def take_over(self, path: Path) -> int:
        """Add all that another file of this kind knows of the same root, where it goes by the same rules.

        Returns:
            How many contents it knows.
        """
        with KnownImages.at(path, self._root_uri) as other:
            self._new += other._all()
        taken = len({digest for _, _, digest, _ in self._new})
        self._write()
        return taken

    def close(self) -> None:
        """Write what is not yet written."""
        self._write()
        with self._given_up_on_error():
            if self._database is not None:
                self._database.close()
                self._database = None

    def _open(self, root_uri: str) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(
            self._path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False, cached_statements=8
        )
        database.execute("PRAGMA journal_mode = WAL")  # who asks does not wait for who writes
        database.execute("PRAGMA synchronous = OFF")  # what a power cut costs here is looked at again
        database.executescript(_SCHEMA)
        rules = _rules()
        if database.execute("SELECT text FROM rules").fetchall() != [(rules,)]:
            database.execute("BEGIN IMMEDIATE")
            database.execute("DELETE FROM contents")
            database.execute("DELETE FROM rules")
            database.execute("INSERT INTO rules VALUES (?)", (rules,))
            database.execute("COMMIT")
        now = time.time()
        used = "INSERT INTO roots (uri, used) VALUES (?, ?) ON CONFLICT (uri) DO UPDATE SET used = excluded.used"
        database.execute(used, (root_uri, now))
        (self._root,) = database.execute("SELECT id FROM roots WHERE uri = ?", (root_uri,)).fetchone()
        if database.execute("SELECT 1 FROM roots WHERE used < ?", (now - _KEPT_S,)).fetchone():
            database.execute("BEGIN IMMEDIATE")
            database.execute("DELETE FROM roots WHERE used < ?", (now - _KEPT_S,))
            database.execute("DELETE FROM files WHERE root NOT IN (SELECT id FROM roots)")
            database.execute("DELETE FROM contents WHERE digest NOT IN (SELECT digest FROM files)")
            database.execute("COMMIT")
        self._database = database

    def _known(self, keys: Sequence[str]) -> list[tuple[str, str, bytes, bytes]]:
        """Of those files that are known: key, version, digest, and what was found."""
        with self._given_up_on_error():
            if self._database is not None:
                # CROSS JOIN keeps this order: left to itself, SQLite reads all contents for each of the wanted.
                query = (
                    "SELECT files.key, version, files.digest, found FROM json_each(?) AS wanted "
                    "CROSS JOIN files ON files.root = ? AND files.key = wanted.value "
                    "CROSS JOIN contents ON contents.digest = files.digest"
                )
                return self._database.execute(query, (orjson.dumps(keys).decode(), self._root)).fetchall()
        return []

    def _all(self) -> list[tuple[str, str, bytes, bytes]]:
        """The same of all that is known; of a content without a file that is settled, key and version are empty."""
        with self._given_up_on_error():
            if self._database is not None:
                query = (
                    "SELECT ifnull(key, ''), ifnull(version, ''), contents.digest, found FROM contents "
                    "LEFT JOIN files ON files.root = ? AND files.digest = contents.digest"
                )
                return self._database.execute(query, (self._root,)).fetchall()
        return []

    def _write(self) -> None:
        new, self._new = self._new, []
        with self._given_up_on_error():
            if self._database is None or not new:
                return
            files = [(self._root, key, seen, digest) for key, seen, digest, _ in new if key]
            contents = [(digest, found) for _, _, digest, found in new if found is not None]
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", files)
            self._database.executemany("INSERT OR REPLACE INTO contents VALUES (?, ?)", contents)
            self._database.execute("COMMIT")

    @contextmanager
    def _given_up_on_error(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except (sqlite3.Error, OSError, ValueError, TypeError, KeyError) as error:
                _LOG.warning("%s cannot be used (%s): every image is looked at", self._path, error)
                self._database = None
                if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                    self._path.unlink(missing_ok=True)  # it is damaged: the next run begins a new one


@functools.cache
def _rules() -> str:
    """By which contents are judged and described: when the code or a library changes, all is looked at anew."""
    code = hashlib.sha256()
    for module in (decoding, image_facts, image_formats, signature, videos):
        code.update(Path(str(module.__file__)).read_bytes())
    return " ".join([code.hexdigest(), *(f"{name} {version(name)}" for name in ("pillow", "pi-heif", "imagehash"))])


def _bytes(content: Content) -> bytes:
    if isinstance(content, Reject):
        return orjson.dumps({"reason": content.reason, "message": content.message})
    return orjson.dumps(asdict(content))


def _content(found: bytes) -> Content:
    fields: dict[str, Any] = orjson.loads(found)
    if "reason" in fields:
        return Reject(fields["reason"], fields["message"])
    if "rate" in fields:
        return VideoFacts(**fields)
    stored_size = _same(tuple(fields["stored_size"]))
    fields |= {"changes": _same(tuple(fields["changes"])), "stored_size": stored_size}
    fields["format"] = sys.intern(fields["format"])
    if (fields["width"], fields["height"]) == stored_size:
        fields["width"], fields["height"] = stored_size
    return ImageFacts(**fields)


@functools.lru_cache(maxsize=1024)
def _same(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """One tuple for all images that have the same: a million of them need not hold a million."""
    return values
