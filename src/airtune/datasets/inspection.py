"""Every image and video of a dataset, looked at once: read whole, decoded whole, its facts kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from airtune.datasets.decoding import UnusableImageError, decode
from airtune.datasets.draft import Draft, Reject
from airtune.datasets.images import READERS, Images
from airtune.datasets.signature import signature_of
from airtune.datasets.videos import VideoFacts, look
from airtune.runspec.tasks import Task

_SUFFIXES: Final = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"),
    "AVIF": (".avif", ".avifs"),
}

_SAME_SHAPE: Final = 0.02
"""How far, relatively, two aspect ratios may differ and still be one picture at two sizes."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known about a usable image.

    Attributes:
        digest: sha256 (hex) of the file.
        width: as it is seen (EXIF orientation applied), in pixels.
        height: likewise.
        stored_size: width and height before EXIF orientation.
        changes: what decoding had to do, see :class:`airtune.datasets.decoding.Picture`; ``suffix`` where the
            name says another format than the content.
        format: by content, one of :data:`airtune.datasets.decoding.FORMATS`.
        bytes: of the file.
        phash: how it looks, see :class:`airtune.datasets.signature.Signature`; empty for a plain picture.
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


Inspected = dict[str, ImageFacts | VideoFacts | Reject]


def inspect(
    images: Images,
    keys: Iterable[str],
    progress: Callable[[int, int], None] | None = None,
    *,
    videos: Iterable[str] = (),
) -> Inspected:
    """Look at every image and video, several at a time.

    Args:
        images: where they are.
        keys: which images.
        videos: which videos.
        progress: told after each how many are done, and how many there are.

    Returns:
        By key, its facts, or the reason why it cannot be used.
    """
    films = set(videos)
    wanted = sorted(films | set(keys))
    found: Inspected = {}

    def look_at(key: str) -> ImageFacts | VideoFacts | Reject:
        return _look_at_video(images, key) if key in films else _look(images, key)

    with ThreadPoolExecutor(READERS) as pool:
        try:
            for key, facts in zip(wanted, pool.map(look_at, wanted), strict=True):
                found[key] = facts
                if progress:
                    progress(len(found), len(wanted))
        except BaseException:  # also Ctrl-C: what has not begun need not
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def _look(images: Images, key: str) -> ImageFacts | Reject:
    try:
        data = images.read(key)
        picture = decode(data, name=key)
    except UnusableImageError as error:
        return Reject(error.reason, error.problems[0].message)
    width, height = picture.image.size
    changes = picture.changes
    suffix = PurePosixPath(key).suffix.lower()
    if suffix not in _SUFFIXES.get(picture.format, (suffix,)):
        changes = (*changes, "suffix")
    looks = signature_of(picture.image)
    return ImageFacts(
        digest=hashlib.sha256(data).hexdigest(),
        width=width,
        height=height,
        stored_size=picture.stored_size,
        changes=changes,
        format=picture.format,
        bytes=len(data),
        phash=looks.phash,
        colours=looks.colours,
        brightness=looks.brightness,
    )


def _look_at_video(images: Images, key: str) -> VideoFacts | Reject:
    try:
        return look(images.path(key), name=key)
    except UnusableImageError as error:
        return Reject(error.reason, error.problems[0].message)


def check_size(draft: Draft, facts: ImageFacts, task: Task) -> str | None:
    """Hold an image against the size that its annotation states.

    Returns:
        None, or ``scaled`` where the image is the annotated one at another size (fractions still hold).

    Raises:
        Reject: it cannot be the image that was annotated; or it was annotated unturned, so that nobody can tell in
            which of the two frames its boxes are.
    """
    stated = draft.annotated_size
    seen = (facts.width, facts.height)
    if stated is None or stated == seen:
        return None
    if stated == facts.stored_size:
        if task is Task.PHRASE_GROUNDING:
            raise Reject(
                "image-orientation",
                f"annotated as {_by(stated)}, but its EXIF orientation turns it to {_by(seen)}: "
                "its boxes may be meant for either",
            )
        return None
    ratio = (stated[0] * seen[1]) / (stated[1] * seen[0])
    if abs(ratio - 1) <= _SAME_SHAPE:
        return "scaled"
    raise Reject("image-size-differs", f"annotated as {_by(stated)} pixels, but it has {_by(seen)}")


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
