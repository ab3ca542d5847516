"""The images of a dataset, by their keys: read from a folder or S3, held against what validation saw."""

from __future__ import annotations

import functools
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from PIL import Image

from airtune.datasets.archives import folder_of
from airtune.datasets.decoding import LARGEST_FILE, Picture, UnusableImageError, decode, upright_size
from airtune.datasets.record import Record
from airtune.environment import Environment
from airtune.errors import DataError, Problem, SettingsError
from airtune.stores.base import MissingError, Store, check_key
from airtune.stores.opening import local_path, open_store

READERS: Final = min(8, (os.cpu_count() or 2) + 2)
"""Threads that read and decode: the codecs and the network both leave Python's lock alone."""

_MOST_NAMED: Final = 20


class Images:
    """The images below a dataset's root; cheap to make, can be pickled, and usable from several threads.

    Files of an S3 root are kept in ``cache`` under the sha256 of their content, so a copy is never stale: what the
    records name by digest is what is loaded.

    Args:
        root_uri: the dataset's root, ``file://...`` or ``s3://...``: a folder or an archive, which is unpacked once.
        cache: folder for copies of S3 objects; default ``cache/images`` in airtune's home.
    """

    def __init__(self, root_uri: str, cache: Path | None = None) -> None:
        self.root_uri = root_uri.rstrip("/")
        self._cache = cache or Environment.read().home / "cache" / "images"

    def __getstate__(self) -> dict[str, Any]:
        # A store holds connections; another process opens its own.
        return {name: value for name, value in self.__dict__.items() if not isinstance(value, Store)}

    @functools.cached_property
    def _folder(self) -> str:
        return folder_of(self.root_uri)

    @functools.cached_property
    def _root(self) -> Path | None:
        return local_path(self._folder)

    @functools.cached_property
    def _store(self) -> Store:
        return open_store(self._folder)

    @functools.cached_property
    def _real_root(self) -> Path | None:
        return self._root.resolve() if self._root is not None else None

    def path(self, key: str, digest: str | None = None) -> Path:
        """A local file with the image's content (an S3 object is downloaded once).

        Args:
            key: the image, relative to the root.
            digest: sha256 (hex) that it must have; ``Record.image_digests`` has them.

        Raises:
            UnusableImageError: there is no such file, it lies outside the root, or it is not the one meant.
        """
        if self._root is not None and digest is None:
            return self._inside(key)
        content = self.read(key, digest)
        return self._inside(key) if self._root is not None else self._cached(hashlib.sha256(content).hexdigest())

    def read(self, key: str, digest: str | None = None) -> bytes:
        """The image file's content, held against ``digest`` where one is given.

        Raises:
            UnusableImageError: as :meth:`path`.
        """
        if self._root is None:
            return self._from_cache(digest) or self._download(key, digest)
        path = self._inside(key)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise self._unusable("image-missing", key, f"cannot be read: {error.strerror}") from error
        self._check(key, content, digest)
        return content

    def picture(self, key: str, digest: str | None = None) -> Picture:
        """The decoded image with what had to be done to it.

        Raises:
            UnusableImageError: as :meth:`path`, or it cannot be decoded.
        """
        return decode(self.read(key, digest), name=key)

    def load(self, key: str, digest: str | None = None) -> Image.Image:
        """The image as the model sees it: RGB, upright.

        Args:
            key: the image, relative to the root.
            digest: sha256 (hex) that the file must have.

        Raises:
            UnusableImageError: as :meth:`picture`.
        """
        return self.picture(key, digest).image

    def size(self, key: str, digest: str | None = None) -> tuple[int, int]:
        """Width and height in pixels of what :meth:`load` gives, from the file's header alone.

        Raises:
            UnusableImageError: as :meth:`path`, or the file has no header of an image.
        """
        return upright_size(self.read(key, digest), name=key)

    def load_all(self, record: Record) -> list[Any]:
        """What one record shows: its images, each held against the digest that validation wrote down, or its video.

        Returns:
            Pictures; or one :class:`airtune.datasets.videos.Film`, which is read when its frames are asked for.

        Raises:
            UnusableImageError: an image is gone or has changed since.
        """
        films = self.films(record)
        if films:
            return films
        return [self.load(key, digest) for key, digest in zip(record.images, record.image_digests, strict=True)]

    def films(self, record: Record) -> list[Any]:
        """The videos of one record, none of them opened."""
        from airtune.datasets.videos import Film

        film = Film.of(record, self)
        return [film] if film is not None else []

    def verify(self, records: Iterable[Record], meter: Callable[[int, int], None] | None = None) -> int:
        """Hold every image and video of the records against what validation saw; brings S3 objects into the cache.

        Args:
            records: what validation wrote.
            meter: told after each image how many were looked at, and of how many.

        Returns:
            How many image files were looked at.

        Raises:
            DataError: images are gone or have changed since validation; all of them are named (the first 20).
        """
        wanted = {
            key: digest for record in records for key, digest in zip(record.images, record.image_digests, strict=True)
        }
        wanted |= {record.video: record.video_digest for record in records if record.video and record.video_digest}
        listed = {info.key for info in self._store.list()} if self._root is None else None

        def wrong(key: str) -> Problem | None:
            if listed is not None and key not in listed:
                return Problem(f"{self.root_uri}/{key}", "the image is gone")
            try:
                self.read(key, wanted[key])
            except UnusableImageError as error:
                return error.problems[0]
            return None

        keys = sorted(wanted)
        problems: list[Problem] = []
        with ThreadPoolExecutor(READERS) as pool:
            for done, problem in enumerate(pool.map(wrong, keys), start=1):
                if problem is not None:
                    problems.append(problem)
                if meter is not None:
                    meter(done, len(keys))
        if problems:
            raise DataError(_changed_since_validation(problems, len(keys), self.root_uri))
        return len(keys)

    def _inside(self, key: str) -> Path:
        root = self._real_root
        if self._root is None or root is None:
            raise RuntimeError("only a local root has paths")
        self._check_key(key)
        try:
            path = (self._root / key).resolve(strict=True)
            found = path.stat()
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a link that leads to itself
            raise self._unusable("image-missing", key, "there is no such file") from error
        if not path.is_relative_to(root):
            raise self._unusable("image-outside", key, f"a symbolic link leads out of the dataset, to {path}")
        if not stat.S_ISREG(found.st_mode):
            raise self._unusable("image-missing", key, "it is not a file")
        if found.st_size > LARGEST_FILE:
            raise self._unusable("image-too-large", key, f"the file has {found.st_size:,} bytes")
        return path

    def _download(self, key: str, digest: str | None) -> bytes:
        self._check_key(key)
        self._cache.mkdir(parents=True, exist_ok=True)
        temporary = self._cache / f"{os.getpid()}-{secrets.token_hex(6)}.part"
        try:
            try:
                self._store.download_file(key, temporary)
            except MissingError as error:
                raise self._unusable("image-missing", key, "there is no such object") from error
            content = temporary.read_bytes()
            self._check(key, content, digest)
            place = self._cached(digest or hashlib.sha256(content).hexdigest())
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)
        return content

    def _cached(self, digest: str) -> Path:
        return self._cache / digest[:2] / digest

    def _from_cache(self, digest: str | None) -> bytes | None:
        if digest is None:
            return None
        try:
            content = self._cached(digest).read_bytes()
        except OSError:
            return None
        # A copy that was damaged on this disk is fetched again.
        return content if hashlib.sha256(content).hexdigest() == digest else None

    def _check(self, key: str, content: bytes, digest: str | None) -> None:
        if digest is not None and hashlib.sha256(content).hexdigest() != digest:
            raise self._unusable("image-changed", key, "the file is not the one that was validated")

    def _check_key(self, key: str) -> None:
        try:
            check_key(key, where=self.root_uri)
        except SettingsError as error:
            raise self._unusable("image-outside", key, error.problems[0].message) from error

    def _unusable(self, reason: str, key: str, message: str) -> UnusableImageError:
        return UnusableImageError(reason, Problem(f"{self.root_uri}/{key}", message))


def _changed_since_validation(problems: Sequence[Problem], looked_at: int, root_uri: str) -> list[Problem]:
    shown = list(problems[:_MOST_NAMED])
    more = f", of which the first {_MOST_NAMED} are named" if len(problems) > _MOST_NAMED else ""
    return [
        Problem(
            root_uri,
            f"{len(problems)} of {looked_at} images are gone or have changed since the dataset was validated{more}",
            fix="start a new run, which validates the dataset as it is now",
        ),
        *shown,
    ]
