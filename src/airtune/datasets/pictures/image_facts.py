"""What is known about one image that was looked at."""

from __future__ import annotations

from dataclasses import dataclass

from airtune.datasets.draft import Reject
from airtune.datasets.pictures.videos import VideoFacts


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known about a usable image.

    Attributes:
        digest: sha256 (hex) of the file.
        width: as it is seen (EXIF orientation applied), in pixels.
        height: likewise.
        stored_size: width and height before EXIF orientation.
        changes: what decoding had to do, see :class:`airtune.datasets.pictures.decoding.Picture`; ``suffix`` where the
            name says another format than the content.
        format: by content, see :class:`airtune.datasets.pictures.decoding.Picture`.
        bytes: of the file.
        phash: how it looks, see :class:`airtune.datasets.pictures.signature.Signature`; empty for a plain picture.
        colours: likewise.
        brightness: mean luminance, 0 to 255.
    """

    digest: str
    width: int
    height: int
    stored_size: tuple[int, int]
    changes: tuple[str, ...]
    format: str
    bytes: int
    phash: str
    colours: str
    brightness: float


Content = ImageFacts | VideoFacts | Reject
"""What a file turned out to be: an image, a video, or nothing that can be used, for a reason."""

Inspected = dict[str, Content]
"""By key."""
