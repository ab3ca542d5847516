"""The files behind a dataset's keys, in a folder or a bucket: read whole, by their first bytes, by their version."""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from airtune.datasets.pictures.decoding import LARGEST_FILE, UnusableImageError
from airtune.datasets.pictures.image_cache import ImageCache
from airtune.errors import Problem, SettingsError
from airtune.stores.base import MissingError, ObjectInfo, Store, check_key
from airtune.stores.hashing import sha256_of_file
from airtune.stores.opening import open_store

_SETTLED_NS: Final = 2_000_000_000
"""A file that was changed later than so long ago may be changed again without a trace: file systems count time in
steps, the coarsest of two seconds."""


class ImageFiles(ABC):
    """Files below a root. All methods raise :class:`UnusableImageError` of a file that is not there or not allowed.

    Args:
        uri: the root, as messages name it.
    """

    readers: int
    """How many threads to read and decode in: the codecs and the network both leave Python's lock alone."""

    remote: bool
    """Whether files have to be fetched over a network."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @abstractmethod
    def read(self, key: str, digest: str | None) -> bytes:
        """The content, held against ``digest`` (sha256, hex) where one is given."""

    @abstractmethod
    def head(self, key: str, length: int) -> bytes:
        """At most ``length`` bytes from the beginning; no more is read or fetched."""

    @abstractmethod
    def path(self, key: str, digest: str | None) -> Path:
        """A local file with the content, held against ``digest`` where one is given."""

    @abstractmethod
    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """What changes whenever a file does, by key.

        Returns:
            Nothing of a file that cannot be used, or was changed so lately that it might be changed again unseen.
        """

    @abstractmethod
    def bytes_to_fetch(self, key: str) -> int:
        """How large an object of a bucket is, as its listing says; 0 of a file, and of what is not there."""

    @abstractmethod
    def listed(self) -> Collection[str] | None:
        """All keys of a bucket; None of a folder, which is asked file by file."""

    def check_key(self, key: str) -> None:
        """Refuses a key that could lead out of the root."""
        try:
            check_key(key, where=self.uri)
        except SettingsError as error:
            raise self.unusable("image-outside", key, error.problems[0].message) from error

    def unusable(self, reason: str, key: str, message: str) -> UnusableImageError:
        """The error that names the file."""
        return UnusableImageError(reason, Problem(f"{self.uri}/{key}", message))

    def changed(self, key: str) -> UnusableImageError:
        """The error of a file that has another content than it had."""
        return self.unusable("image-changed", key, "the file is not the one that was validated")

    def too_large(self, key: str) -> UnusableImageError:
        """The error of a file beyond the limit."""
        return self.unusable("image-too-large", key, f"the file has more than {LARGEST_FILE:,} bytes")


class FolderFiles(ImageFiles):
    """Files in a folder; links may lead about in it, but not out of it."""

    readers = min(8, (os.cpu_count() or 2) + 2)
    remote = False

    def __init__(self, uri: str, root: Path) -> None:
        super().__init__(uri)
        self._root = root
        self._folders: dict[str, bool] = {}  # whether they lie below the root, links followed

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri, "_root": self._root, "_folders": {}}

    @functools.cached_property
    def _real_root(self) -> Path:
        return self._root.resolve()

    def read(self, key: str, digest: str | None) -> bytes:
        """See :class:`ImageFiles`."""
        path = self._inside(key)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise self._unread(key, error) from error
        if digest is not None and hashlib.sha256(content).hexdigest() != digest:
            raise self.changed(key)
        return content

    def head(self, key: str, length: int) -> bytes:
        """See :class:`ImageFiles`."""
        try:
            with self._inside(key).open("rb") as file:
                return file.read(length)
        except OSError as error:
            raise self._unread(key, error) from error

    def path(self, key: str, digest: str | None) -> Path:
        """See :class:`ImageFiles`."""
        path = self._inside(key)
        if digest is not None and sha256_of_file(path) != digest:
            raise self.changed(key)
        return path

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """See :class:`ImageFiles`; made of sizes, times and numbers of the files."""
        lately = time.time_ns() - _SETTLED_NS
        return {key: version for key in keys if (version := self._version(key, lately)) is not None}

    def bytes_to_fetch(self, key: str) -> int:  # noqa: ARG002
        """See :class:`ImageFiles`."""
        return 0

    def listed(self) -> Collection[str] | None:
        """See :class:`ImageFiles`."""
        return None

    def _version(self, key: str, lately: int) -> str | None:
        try:
            found = self._stat(key)
        except (OSError, ValueError, UnusableImageError):
            return None
        # Nobody can set the time of a file's last change of any kind; that of its content can be set, and is by copies.
        if found.st_ctime_ns > lately:
            return None
        parts = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)
        return "-".join(f"{part:x}" for part in parts)

    def _stat(self, key: str) -> os.stat_result:
        """What the system says of the file, if it lies in the root; a folder is followed once, not for every file."""
        self.check_key(key)
        folder = key.rpartition("/")[0]
        if folder not in self._folders:
            self._folders[folder] = (self._root / folder).resolve().is_relative_to(self._real_root)
        found = os.lstat(f"{self._root}/{key}")
        if stat.S_ISREG(found.st_mode) and self._folders[folder]:
            return found
        return self._inside(key).stat()

    def _inside(self, key: str) -> Path:
        self.check_key(key)
        try:
            path = (self._root / key).resolve(strict=True)
            found = path.stat()
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a link that leads to itself
            raise self.unusable("image-missing", key, "there is no such file") from error
        if not path.is_relative_to(self._real_root):
            raise self.unusable("image-outside", key, f"a symbolic link leads out of the dataset, to {path}")
        if not stat.S_ISREG(found.st_mode):
            raise self.unusable("image-missing", key, "it is not a file")
        if found.st_size > LARGEST_FILE:
            raise self.too_large(key)
        return path

    def _unread(self, key: str, error: OSError) -> UnusableImageError:
        return self.unusable("image-missing", key, f"cannot be read: {error.strerror}")


class BucketFiles(ImageFiles):
    """Objects of S3; what was fetched whole is kept in a cache under the sha256 of its content."""

    readers = 16
    remote = True

    def __init__(self, uri: str, cache: ImageCache) -> None:
        super().__init__(uri)
        self._cache = cache

    def __getstate__(self) -> dict[str, Any]:
        # A store holds connections; another process opens its own, and asks for its own listing.
        return {"uri": self.uri, "_cache": self._cache}

    @functools.cached_property
    def _store(self) -> Store:
        return open_store(self.uri)

    @functools.cached_property
    def _listed(self) -> dict[str, ObjectInfo]:
        return {info.key: info for info in self._store.list()}

    def read(self, key: str, digest: str | None) -> bytes:
        """See :class:`ImageFiles`; one request, of an object that is not in the cache."""
        if digest is not None and (kept := self._cache.read(digest)) is not None:
            return kept
        content = self.head(key, LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise self.too_large(key)
        found = hashlib.sha256(content).hexdigest()
        if digest is not None and found != digest:
            raise self.changed(key)
        self._cache.keep(found, content)
        return content

    def head(self, key: str, length: int) -> bytes:
        """See :class:`ImageFiles`; a ranged read."""
        self.check_key(key)
        try:
            return self._store.read_part(key, 0, length)
        except MissingError as error:
            raise self.unusable("image-missing", key, "there is no such object") from error

    def path(self, key: str, digest: str | None) -> Path:
        """See :class:`ImageFiles`; a copy in the cache, safe from it for a minute."""
        self.check_key(key)
        if digest is not None and self._cache.has(digest):
            return self._cache.path(digest)

        def fetch(place: Path) -> None:
            try:
                self._store.download_file(key, place)
            except MissingError as error:
                raise self.unusable("image-missing", key, "there is no such object") from error
            if digest is not None and sha256_of_file(place) != digest:
                raise self.changed(key)

        return self._cache.fill(fetch, digest)

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """See :class:`ImageFiles`; made of the objects' ETags."""
        found = ((key, self._listed[key]) for key in keys if key in self._listed)
        return {key: f"{info.version}-{info.size:x}" for key, info in found}

    def bytes_to_fetch(self, key: str) -> int:
        """See :class:`ImageFiles`."""
        return self._listed[key].size if key in self._listed else 0

    def listed(self) -> Collection[str] | None:
        """See :class:`ImageFiles`."""
        return self._listed
