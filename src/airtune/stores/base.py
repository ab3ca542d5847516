"""The one small interface behind which files and S3 look alike.

A *key* is a relative path with ``/`` between its parts (``dataset/facts.json``). Everything that
is written appears whole or not at all: readers never see half a file.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from airtune.errors import Problem, SettingsError

MARKER: Final = "COMPLETE"
"""A file of this name says that its folder is whole: it is written last and deleted first."""

PRIVATE_PREFIX: Final = ".airtune-"
"""Names that begin so (temporary files, locks, the workspace's index) are no part of a store."""

_FORBIDDEN_CHARACTERS: Final = re.compile(r"[\x00-\x1f\x7f\\]")
_LONGEST_KEY: Final = 1024  # bytes: what S3 allows


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store knows about one object without reading it.

    Attributes:
        key: its name, relative to the store it was asked of.
        size: bytes.
        version: changes whenever the content does: an S3 ETag, or a file's time, size and inode.
    """

    key: str
    size: int
    version: str


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file that was transferred: its path relative to the tree, bytes, and sha256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is: files and bytes done, and the totals."""

    files: int
    files_total: int
    bytes: int
    bytes_total: int


ProgressCallback = Callable[[Progress], None]
FileRecords = list[FileRecord]
FolderNames = list[str]


class MissingError(SettingsError):
    """Something that was named is not there (a key, a folder, a run)."""


class Store(ABC):
    """A folder, or a prefix in a bucket.

    Every method raises :class:`airtune.errors.StoreError` (76) when the store does not answer
    after all retries, and :class:`airtune.errors.NotPermittedError` (77) when it refuses.
    """

    uri: str
    """Where it is, without a trailing slash: ``file:///data/x`` or ``s3://bucket/x``."""

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The content of ``key``.

        Raises:
            MissingError: there is no such object.
        """

    @abstractmethod
    def read_part(self, key: str, start: int, length: int) -> bytes:
        """At most ``length`` bytes of ``key`` from ``start``, without reading the rest: the head of a large file.

        Raises:
            MissingError: there is no such object.
        """

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Set ``key`` to ``data``, whatever it was before."""

    @abstractmethod
    def stat(self, key: str) -> ObjectInfo | None:
        """What is known about ``key``; None when it does not exist."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object in the folder ``prefix`` and below, sorted by key; ``prefix`` itself when it is an object."""

    @abstractmethod
    def folders(self, prefix: str = "") -> FolderNames:
        """The names of the folders directly in ``prefix``, sorted; what lies in them is not listed."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove ``key``; no error when it is not there."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Write ``key`` only if it does not exist.

        Returns:
            True when this call made it, False when it was there already. Of callers that race, one gets True.
        """

    @abstractmethod
    def read_versioned(self, key: str) -> tuple[bytes, str] | None:
        """The content of ``key`` and the version that :meth:`replace` wants; None when it does not exist."""

    @abstractmethod
    def replace(self, key: str, data: bytes, version: str | None) -> bool:
        """Compare and swap: write ``key`` only if its version is still ``version`` (None: does not exist).

        Returns:
            False when somebody else has changed it meanwhile. A key that is changed by ``replace``
            must be changed by ``replace`` everywhere, and never back to a content it had before (give it a
            time or a name of its own): the version of an S3 object is a digest of its content.
        """

    @abstractmethod
    def upload_file(self, path: Path, key: str, on_bytes: Callable[[int], None] | None = None) -> ObjectInfo:
        """Copy the local file ``path`` to ``key``; ``on_bytes`` is told of every chunk."""

    @abstractmethod
    def download_file(self, key: str, path: Path, on_bytes: Callable[[int], None] | None = None) -> ObjectInfo:
        """Copy ``key`` to the local file ``path``, which appears whole or not at all.

        Raises:
            MissingError: there is no such object.
        """

    @abstractmethod
    def sub(self, prefix: str) -> Store:
        """The store that begins at the folder ``prefix`` of this one."""

    def upload_tree(
        self,
        local: Path,
        prefix: str = "",
        *,
        only: Collection[str] | None = None,
        progress: ProgressCallback | None = None,
    ) -> FileRecords:
        """Copy a local folder to ``prefix``, several files at a time; files named ``COMPLETE`` come last.

        Args:
            local: the folder.
            prefix: where it goes.
            only: paths relative to ``local``; None takes every file.
            progress: told of the bytes as they go.

        Returns:
            One record a file, sorted by path.
        """
        from airtune.stores.trees import upload_tree

        return upload_tree(self, local, prefix, only=only, progress=progress)

    def download_tree(
        self,
        prefix: str,
        local: Path,
        *,
        only: Collection[str] | None = None,
        progress: ProgressCallback | None = None,
    ) -> FileRecords:
        """Copy everything below ``prefix`` into a local folder; files named ``COMPLETE`` come last.

        Args:
            prefix: the folder in the store.
            local: where it goes.
            only: paths relative to ``prefix``; None takes every file.
            progress: told of the bytes as they come.

        Returns:
            One record a file, sorted by path; the sha256 is that of what arrived.

        Raises:
            MissingError: there is nothing below ``prefix``, or one of ``only`` is not there.
        """
        from airtune.stores.trees import download_tree

        return download_tree(self, prefix, local, only=only, progress=progress)

    def delete_tree(self, prefix: str) -> int:
        """Remove everything below ``prefix``, markers first, so that a half-removed folder looks incomplete.

        Returns:
            How many objects were removed.
        """
        keys = [info.key for info in self.list(prefix)]
        for key in sorted(keys, key=lambda key: not is_marker(key)):
            self.delete(key)
        return len(keys)


def is_marker(key: str) -> bool:
    """Whether ``key`` is a ``COMPLETE`` marker."""
    return key.rsplit("/", 1)[-1] == MARKER


def check_key(key: str, *, where: str = "key") -> str:
    """``key`` itself when it is a clean relative path.

    Raises:
        SettingsError: it is empty, absolute, longer than 1,024 bytes, or has empty parts, ``.``, ``..``,
            a backslash or control characters.
    """
    problem = None
    if not isinstance(key, str) or not key:
        problem = "a key must not be empty"
    elif key.startswith("/"):
        problem = "a key is a relative path and does not begin with /"
    elif any(part in ("", ".", "..") for part in key.split("/")):
        problem = "a key has no empty parts and neither . nor .."
    elif _FORBIDDEN_CHARACTERS.search(key):
        problem = "a key has no backslash and no control characters"
    else:
        try:
            if len(key.encode()) > _LONGEST_KEY:
                problem = f"a key is at most {_LONGEST_KEY} bytes"
        except UnicodeEncodeError:
            problem = "a key is valid Unicode"
    if problem:
        raise SettingsError(Problem(where, problem, value=repr(key)[:200]))
    return key


def join(prefix: str, key: str) -> str:
    """``prefix/key``, or ``key`` when the prefix is empty."""
    return f"{prefix}/{key}" if prefix else key
