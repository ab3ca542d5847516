"""Where detection formats keep their images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from airtune.datasets.draft import Reject
from airtune.datasets.readers.splits import named_split
from airtune.datasets.record import Split
from airtune.datasets.sources.source import Source

IMAGE_SUFFIXES: Final = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jp2", ".avif", ".heic",
    ".heif",
)  # fmt: skip
"""Of files that are, or should be, images."""

_ALSO: Final = {"train": None, "validation": "test"}
"""A test split may be what is used for validation."""


def is_image(key: str) -> bool:
    """Whether the name says so."""
    return key.lower().endswith(IMAGE_SUFFIXES)


def image_keys(source: Source) -> list[str]:
    """The keys of all files of a dataset whose names say that they are images."""
    return [key for key in source.keys if is_image(key)]


class ImageFolders:
    """The folders of a dataset that hold images.

    Args:
        source: the dataset.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        images = sorted(key for key in source.keys if is_image(key))
        self._folders = {key.rpartition("/")[0] for key in images}
        self._by_stem = {key.rpartition(".")[0]: key for key in images}

    def of(self, annotations: str, split: Split | None) -> list[str]:
        """Where to look for the images that a file names, the likeliest first.

        First the folder of the file itself and ``images`` (or ``JPEGImages``) beside it and beside its parents, then
        all other folders. A folder whose name tells of the other split is left out.
        """
        near = self._near(annotations)
        folders = [
            folder
            for folder in self._folders
            if split is None or named_split(f"{folder}/.") in (None, split, _ALSO[split])
        ]
        rank = {folder: place for place, folder in enumerate(near)}
        folders.sort(key=lambda folder: (rank.get(folder, len(rank)), folder))
        # A name may itself begin with a folder: then it may count from one that holds no image.
        return [*folders, *(folder for folder in near if folder not in self._folders)]

    def _near(self, annotations: str) -> list[str]:
        parents = [parent.as_posix() for parent in PurePosixPath(annotations).parents]
        near = []
        for parent in ("" if parent == "." else parent for parent in parents):
            near += [parent, *(f"{parent}/{name}" if parent else name for name in ("images", "JPEGImages"))]
        return near

    def of_stem(self, stem: str) -> str | None:
        """The image of this name without its suffix, if there is one; the last of several in the alphabet's order."""
        return self._by_stem.get(stem)

    def key(self, name: object, folders: Sequence[str]) -> str:
        """The key of the image that an annotation calls ``name``.

        The name may have the slashes of any system, and leave out the suffix.

        Raises:
            Reject: as :meth:`airtune.datasets.sources.source.Source.image_key`.
        """
        if isinstance(name, str) and "\\" in name:
            name = name.replace("\\", "/")
        if isinstance(name, str) and not is_image(name):
            for folder in folders:
                found = self.of_stem(f"{folder}/{name}" if folder else name)
                if found is not None:
                    return found
        return self._source.image_key(name, folders)


def refused(name: object) -> tuple[str, ...]:
    """What to put on record as the image of a sample whose image was not found."""
    return (name,) if isinstance(name, str) else ()


def same(refusal: Reject) -> Reject:
    """A new exception of the same content: one that is raised twice would keep its first trace."""
    return Reject(refusal.reason, refusal.message)
