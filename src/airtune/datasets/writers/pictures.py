"""The images of a dataset that is being written: copied once each, under names that do not meet."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image

from airtune.datasets.draft import Reject
from airtune.datasets.pictures.decoding import UnusableImageError, upright_size
from airtune.datasets.pictures.images import Images
from airtune.datasets.readers.places import is_image
from airtune.stores.opening import local_path

_SUFFIXES: Final = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2", "HEIF": ".heic"}


class Placed(NamedTuple):
    """An image where it was put.

    Attributes:
        name: of the file, in the folder that was asked for.
        size: width and height in pixels, upright.
    """

    name: str
    size: tuple[int, int]


class Pictures:
    """Copies images from one dataset to another.

    Args:
        images: those of the dataset that is read.
        root: of the one that is written.
        link: make hard links where both are on one disk, which takes no space: who changes one file changes both.
    """

    def __init__(self, images: Images, root: Path, *, link: bool) -> None:
        self._images = images
        self._root = root
        self._from = local_path(images.root_uri) if link else None
        self._placed: dict[tuple[str, str], Placed] = {}
        self._taken: set[tuple[str, str]] = set()

    @property
    def count(self) -> int:
        """How many files were made."""
        return len(self._placed)

    def place(self, key: str, folder: str) -> Placed:
        """Put an image into a folder, unless it is there already.

        Args:
            key: of the image in the dataset that is read.
            folder: relative to the root of the one that is written.

        Raises:
            Reject: it cannot be read, or is no image.
        """
        placed = self._placed.get((folder, key))
        if placed is None:
            try:
                data = self._images.read(key)
                size = upright_size(data, name=key)
            except UnusableImageError as error:
                raise Reject(error.reason, error.problems[0].message) from error
            name = self._name(key, folder, data)
            self._put(key, data, self._root / folder / name)
            placed = self._placed[folder, key] = Placed(name, size)
        return placed

    def _put(self, key: str, data: bytes, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._from is not None and (self._from / key).is_file():
            try:
                os.link((self._from / key).resolve(), target)
            except OSError:
                pass  # another disk, or one that knows no links
            else:
                return
        target.write_bytes(data)

    def _name(self, key: str, folder: str, data: bytes) -> str:
        """The file's own name, or, where that is taken in the folder, its whole path in one word."""
        suffix = "" if is_image(key) else _suffix(data)
        own = key.rpartition("/")[2] if suffix == "" else key.replace("/", "_").replace("#", "_")
        for name in (own, key.replace("/", "_"), *(f"{number}-{own}" for number in range(1, 1 + len(self._taken)))):
            # Some disks take capital letters for small ones.
            if (folder, f"{name}{suffix}".casefold()) not in self._taken:
                break
        self._taken.add((folder, f"{name}{suffix}".casefold()))
        return f"{name}{suffix}"


def _suffix(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as opened:
        kind = opened.format or ""
    return _SUFFIXES.get(kind, f".{kind.lower()}")
