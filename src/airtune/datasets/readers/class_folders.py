"""Image folders without annotations whose folders are named for what the images in them show: ``train/cat/1.jpg``.

Folders may as well be named for a day or a camera, so this is read only where a run names the format.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from airtune.datasets.readers.splits import named_split, sides_of
from airtune.datasets.record import Split


def class_folders(images: Iterable[str]) -> Iterator[tuple[str, Split | None, str | None]]:
    """Each image with its side of the split and its class; None for an image that lies in no folder of a class.

    The nearest folder names the class, those above it the split. Images of a test split beside a validation split are
    left out, see :func:`airtune.datasets.readers.splits.sides_of`.

    Args:
        images: their keys.
    """
    sides, _ = sides_of({key: named_split(f"{PurePosixPath(key).parent.parent}/_") for key in sorted(images)})
    for key, split in sides.items():
        folder = PurePosixPath(key).parent.name
        yield key, split, folder if folder and named_split(f"{folder}/_") is None else None
