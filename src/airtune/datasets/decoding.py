"""From the bytes of an image file to the RGB picture that a model is shown, or the reason why not.

The same function serves validation, training and evaluation, so that they see the same pixels.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image, ImageOps, UnidentifiedImageError

from airtune.errors import DataError, Problem

FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "JPEG2000", "AVIF")
"""Pillow's names of what is read (JPEG includes MPO). Not all that Pillow can: EPS would start another program."""

LARGEST_PICTURE: Final = 89_000_000
"""Pixels: above it a small file can fill the memory (a decompression bomb); Pillow warns from here on too."""

LARGEST_FILE: Final = 256 * 1024 * 1024
"""Bytes of one image file."""

SMALLEST_SIDE: Final = 8
"""Pixels: less than half a patch of any model of the catalog."""

MOST_ELONGATED: Final = 200
"""Longer side over shorter side, from which on the image processors of the Qwen family refuse."""

_ORIENTATION_TAG: Final = 0x0112
_SIDEWAYS: Final = 5
"""From this EXIF orientation on width and height change places."""
_LONE_FRAME: Final = frozenset({"BMP", "JPEG", "JPEG2000", "MPO"})

# Our own limit refuses such a picture before a pixel is decoded, and what is broken is refused in words: Pillow's
# warnings would only be noise in the log.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module=r"PIL\..*")


class UnusableImageError(DataError):
    """An image that cannot be shown to a model.

    Args:
        reason: one of the codes of :mod:`airtune.datasets.set_aside`.
        problem: the file and what is wrong with it.
    """

    def __init__(self, reason: str, problem: Problem) -> None:
        super().__init__(problem)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.reason, self.problems[0]))


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image.

    Attributes:
        image: RGB, upright (EXIF orientation applied).
        stored_size: width and height in pixels as the file has them, before EXIF orientation.
        format: by content, one of :data:`FORMATS`.
        changes: what had to be done to get here: ``exif-orientation``, ``animation`` (first frame taken), ``alpha``
            (dropped), ``palette``, ``cmyk``, ``grey``, ``16-bit`` (scaled to 8) or ``colours`` (another colour space).
    """

    image: Image.Image
    stored_size: tuple[int, int]
    format: str
    changes: tuple[str, ...]


def decode(data: bytes, *, name: str) -> Picture:
    """Decode an image file completely.

    Args:
        data: the file's content.
        name: what to call it in errors.

    Raises:
        UnusableImageError: it is not an image, is damaged or cut off, or is too large, too small or too thin.
    """
    if len(data) > LARGEST_FILE:
        raise _unusable("image-too-large", name, f"the file has {len(data):,} bytes; {LARGEST_FILE:,} are allowed")
    if not data:
        raise _unusable("image-unreadable", name, "the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            _check_size(opened.size, name)
            changes = _changes(opened)
            stored_size, kind = opened.size, opened.format or "unknown"
            if kind == "PNG":
                _check_sums(data)
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            _check_size(upright.size, name)
            return Picture(_to_rgb(upright), stored_size, kind, changes)
    except UnusableImageError:
        raise
    except UnidentifiedImageError as error:
        raise _unusable("image-unreadable", name, f"not an image that can be read: {_guess(data)}") from error
    except Image.DecompressionBombError as error:
        raise _unusable("image-too-large", name, f"more pixels than the {LARGEST_PICTURE:,} allowed") from error
    except (Exception, MemoryError) as error:  # the codecs raise nearly everything on damaged input
        words = str(error) or type(error).__name__
        reason = "image-truncated" if "truncated" in words or isinstance(error, EOFError) else "image-damaged"
        raise _unusable(reason, name, f"it cannot be decoded: {words[:200]}") from error


def upright_size(data: bytes, *, name: str) -> tuple[int, int]:
    """Width and height in pixels of the picture that :func:`decode` gives, from the file's header: nothing is decoded.

    Args:
        data: the file's content.
        name: what to call it in errors.

    Raises:
        UnusableImageError: it has no header of an image.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            width, height = opened.size
            return (height, width) if _orientation(opened) >= _SIDEWAYS else (width, height)
    except (Exception, MemoryError) as error:  # the readers raise nearly everything on damaged input
        raise _unusable("image-unreadable", name, f"its header cannot be read: {str(error)[:200]}") from error


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > LARGEST_PICTURE:
        raise _unusable(
            "image-too-large", name, f"{width} x {height} pixels; {LARGEST_PICTURE:,} in all are the most allowed"
        )
    if min(size) < SMALLEST_SIDE:
        raise _unusable("image-too-small", name, f"{width} x {height} pixels; {SMALLEST_SIDE} are the least for a side")
    if max(size) > MOST_ELONGATED * min(size):
        raise _unusable("image-too-thin", name, f"{width} x {height} pixels: one side is over 200 times the other")


def _check_sums(data: bytes) -> None:
    """PNG's own sums over its parts, which Pillow does not look at when it decodes: damage would be learnt."""
    if b"IEND" not in data[-1024:]:
        raise EOFError("the file is truncated: the mark of its end is missing")
    with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
        opened.verify()


def _changes(opened: Image.Image) -> tuple[str, ...]:
    changes = []
    if _orientation(opened) not in (0, 1):
        changes.append("exif-orientation")
    if opened.format not in _LONE_FRAME and getattr(opened, "n_frames", 1) > 1:
        changes.append("animation")
    if opened.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in opened.info:
        changes.append("alpha")
    if opened.mode in ("P", "PA"):
        changes.append("palette")
    elif opened.mode == "CMYK":
        changes.append("cmyk")
    elif opened.mode.startswith(("I", "F")):
        changes.append("16-bit")
    elif opened.mode in ("1", "L", "LA", "La"):
        changes.append("grey")
    elif opened.mode not in ("RGB", "RGBA", "RGBa", "RGBX"):
        changes.append("colours")
    return tuple(changes)


def _orientation(opened: Image.Image) -> int:
    try:
        value = opened.getexif().get(_ORIENTATION_TAG, 1)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, struct.error):
        return 1  # a broken EXIF block says nothing about the picture itself
    return value if value in range(2, 9) else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow would clip instead: a 16-bit picture would turn white.
        wide = image.convert("I")
        low, high = _extrema(wide)
        if low < 0 or high > 255:
            wide = wide.point(lambda value: value * (1 / 256))
        return wide.convert("L").convert("RGB")
    if image.mode == "F":
        low, high = _extrema(image)
        scale = 255.0 / (high - low) if high > low else 0.0
        return image.point(lambda value: value * scale - low * scale).convert("L").convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _extrema(image: Image.Image) -> tuple[float, float]:
    low, high = image.getextrema()
    if isinstance(low, tuple) or isinstance(high, tuple):
        raise TypeError(f"a picture of mode {image.mode} with several bands")
    return float(low), float(high)


def _guess(data: bytes) -> str:
    head = data[:512].lstrip().lower()
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim"):
        return "it is HEIC; convert it to JPEG or PNG"
    if head.startswith((b"<!doctype", b"<html")):
        return "it is an HTML page (a download that went wrong?)"
    if head.startswith((b"<svg", b"<?xml")):
        return "it is XML or SVG, not pixels"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; run `git lfs pull` where the dataset comes from"
    if head.startswith(b"%pdf"):
        return "it is a PDF"
    if not any(data[:512]):
        return "it begins with nothing but zeros (an interrupted copy?)"
    return "its content is none of AVIF, BMP, GIF, JPEG, JPEG 2000, PNG, TIFF, WebP"


def _unusable(reason: str, name: str, message: str) -> UnusableImageError:
    return UnusableImageError(reason, Problem(name, message))
