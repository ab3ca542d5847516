"""The images of a dataset, by their keys: read from a folder, S3 or a table, held against what validation saw."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from PIL import Image

from airtune.datasets.pictures.decoding import LARGEST_FILE, Picture, UnusableImageError, decode, upright_size
from airtune.datasets.pictures.headers import HEAD, Header, read_header
from airtune.datasets.pictures.image_cache import ImageCache
from airtune.datasets.pictures.image_files import BucketFiles, FolderFiles, ImageFiles
from airtune.datasets.record import Record
from airtune.datasets.sources.archives import folder_of
from airtune.datasets.sources.table_images import FilesAndCells
from airtune.datasets.sources.tables import Tables
from airtune.environment import Environment
from airtune.errors import DataError, Problem
from airtune.stores.opening import local_path
from airtune.stores.parallel import in_threads

_HEADS: Final = (HEAD, 16 * HEAD, LARGEST_FILE + 1)
"""Bytes that are asked for to see a header, one after the other."""

LARGE: Final = 2 * 1024 * 1024
"""Bytes of an object, above which its header is asked for before the rest."""

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
        environment = Environment.read()
        self._cache = ImageCache(
            cache or environment.home / "cache" / "images", int(environment.image_cache_gb * 1_000_000_000)
        )

    @functools.cached_property
    def _files(self) -> ImageFiles:
        folder = folder_of(self.root_uri)
        root = local_path(folder)
        files = BucketFiles(folder, self._cache) if root is None else FolderFiles(self.root_uri, root)
        return FilesAndCells(files, Tables(folder), self._cache)

    @property
    def readers(self) -> int:
        """How many threads to read and decode in."""
        return self._files.readers

    @property
    def remote(self) -> bool:
        """Whether they have to be fetched."""
        return self._files.remote

    def path(self, key: str, digest: str | None = None) -> Path:
        """A local file with the image's content (an S3 object is downloaded once).

        Args:
            key: the image, relative to the root.
            digest: sha256 (hex) that it must have; ``Record.image_digests`` has them.

        Raises:
            UnusableImageError: there is no such file, it lies outside the root, or it is not the one meant.
        """
        return self._files.path(key, digest)

    def read(self, key: str, digest: str | None = None) -> bytes:
        """The image file's content, held against ``digest`` where one is given.

        Raises:
            UnusableImageError: as :meth:`path`.
        """
        return self._files.read(key, digest)

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

    def header(self, key: str) -> Header:
        """What the first bytes of the file say; of an S3 object no more is fetched than that takes.

        Raises:
            UnusableImageError: as :meth:`path`, or it is no image that could be used, whatever its pixels are.
        """
        for length in _HEADS:
            head = self._files.head(key, length)
            header = read_header(head, name=key, whole=len(head) < length)
            if header is not None:
                return header
        raise self._files.too_large(key)

    def refuse_early(self, key: str) -> None:
        """Look at the header of a large S3 object, before it is fetched whole; other files are read at once.

        Raises:
            UnusableImageError: as :meth:`header`.
        """
        if self._files.bytes_to_fetch(key) > LARGE:
            self.header(key)

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """What changes whenever a file does, see :meth:`airtune.datasets.pictures.image_files.ImageFiles.versions`.

        A bucket is listed once; another object of this class lists it anew.
        """
        return self._files.versions(keys)

    def load_all(self, record: Record) -> list[Any]:
        """What one record shows: its images, each held against the digest that validation wrote down, or its video.

        Returns:
            Pictures; or one :class:`airtune.datasets.pictures.videos.Film`, which is read when its frames are asked
            for.

        Raises:
            UnusableImageError: an image is gone or has changed since.
        """
        films = self.films(record)
        if films:
            return films
        return [self.load(key, digest) for key, digest in zip(record.images, record.image_digests, strict=True)]

    def films(self, record: Record) -> list[Any]:
        """The videos of one record, none of them opened."""
        from airtune.datasets.pictures.videos import Film

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
        self.__dict__.pop("_files", None)  # what is there now counts, not what was listed before
        listed = self._files.listed()

        def wrong(key: str) -> Problem | None:
            if listed is not None and key not in listed:
                return Problem(f"{self.root_uri}/{key}", "the image is gone")
            try:
                self.read(key, wanted[key])
            except UnusableImageError as error:
                return error.problems[0]
            return None

        found: dict[str, Problem] = {}
        for done, (key, problem) in enumerate(in_threads(wrong, sorted(wanted), self.readers), start=1):
            if problem is not None:
                found[key] = problem
            if meter is not None:
                meter(done, len(wanted))
        problems = [found[key] for key in sorted(found)]
        if problems:
            raise DataError(_changed_since_validation(problems, len(wanted), self.root_uri))
        return len(wanted)


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
