"""From the bytes of an image file to the RGB picture that a model is shown, or the reason why not.

The same function serves validation, training and evaluation, so that they see the same pixels.
"""

from __future__ import annotations

import functools
import io
import struct
import warnings
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image, UnidentifiedImageError

from airtune.datasets.pictures.image_formats import guess, open_image
from airtune.errors import DataError, Problem

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
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes an EXIF orientation (Exif 2.32, tag 0x0112)."""
_LONE_FRAME: Final = frozenset({"BMP", "JPEG", "JPEG2000", "MPO"})
_EIGHT_BITS: Final = 8
_SIGNS_OF_A_CUT: Final = ("truncated", "end of file")
_ZEROS_OF_A_COPY: Final = 64
"""So many zeros at a JPEG's end are no padding: the copy was interrupted after its room was set aside."""

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
        format: by content, one of :data:`airtune.datasets.pictures.image_formats.FORMATS`, or ``MPO``.
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
        with open_image(data) as opened:
            check_size(opened.size, name)
            changes = changes_of(opened, data)
            (stored_size, _), kind = sizes_of(opened, data), opened.format or "unknown"
            _check_end(kind, data)
            opened.load()
            turn = _UPRIGHT.get(_orientation(opened, data))
            upright = opened.transpose(turn) if turn is not None else opened
            check_size(upright.size, name)
            return Picture(_to_rgb(upright), stored_size, kind, changes)
    except UnusableImageError:
        raise
    except UnidentifiedImageError as error:
        raise _unusable("image-unreadable", name, f"not an image that can be read: {guess(data)}") from error
    except Image.DecompressionBombError as error:
        raise _unusable("image-too-large", name, f"more pixels than the {LARGEST_PICTURE:,} allowed") from error
    except (Exception, MemoryError) as error:  # the codecs raise nearly everything on damaged input
        words = str(error) or type(error).__name__
        cut = isinstance(error, EOFError) or any(sign in words.lower() for sign in _SIGNS_OF_A_CUT)
        reason = "image-truncated" if cut else "image-damaged"
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
        with open_image(data) as opened:
            return sizes_of(opened, data)[1]
    except (Exception, MemoryError) as error:  # the readers raise nearly everything on damaged input
        raise _unusable("image-unreadable", name, f"its header cannot be read: {str(error)[:200]}") from error


def sizes_of(opened: Image.Image, data: bytes) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and height in pixels of an image that was opened and not yet decoded: as stored, and upright.

    Args:
        opened: by :func:`airtune.datasets.pictures.image_formats.open_image`.
        data: from which it was opened, which may be the beginning of its file alone.
    """
    size, turned = opened.size, (opened.height, opened.width)
    if _orientation(opened, data) < _SIDEWAYS:
        return size, size
    return (turned, size) if opened.format == "TIFF" else (size, turned)  # Pillow turns TIFF by itself


def check_size(size: tuple[int, int], name: str) -> None:
    """Hold width and height in pixels against the limits of this module.

    Raises:
        UnusableImageError: too many pixels, or a side that is too short.
    """
    width, height = size
    if width * height > LARGEST_PICTURE:
        raise _unusable(
            "image-too-large", name, f"{width} x {height} pixels; {LARGEST_PICTURE:,} in all are the most allowed"
        )
    if min(size) < SMALLEST_SIDE:
        raise _unusable("image-too-small", name, f"{width} x {height} pixels; {SMALLEST_SIDE} are the least for a side")
    if max(size) > MOST_ELONGATED * min(size):
        raise _unusable("image-too-thin", name, f"{width} x {height} pixels: one side is over 200 times the other")


def _check_end(kind: str, data: bytes) -> None:
    """What Pillow does not look at when it decodes: damage would be learnt."""
    if kind == "PNG":
        if b"IEND" not in data:
            raise EOFError("the file is truncated: the mark of its end is missing")
        with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
            opened.verify()  # the sums over its parts
    elif kind in ("JPEG", "MPO") and not data[-1]:
        written = data.rstrip(b"\0")
        if len(data) - len(written) >= _ZEROS_OF_A_COPY and not written.endswith(b"\xff\xd9"):
            raise EOFError(f"the file is truncated: its last {len(data) - len(written):,} bytes are zeros")


def changes_of(opened: Image.Image, data: bytes) -> tuple[str, ...]:
    """What :func:`decode` will have to do (see :class:`Picture`) with an image that was opened from ``data``."""
    changes = []
    if _orientation(opened, data) != 1:
        changes.append("exif-orientation")
    if opened.format not in _LONE_FRAME and getattr(opened, "n_frames", 1) > 1:
        changes.append("animation")
    if opened.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in opened.info:
        changes.append("alpha")
    if opened.mode in ("P", "PA"):
        changes.append("palette")
    elif opened.mode == "CMYK":
        changes.append("cmyk")
    elif opened.mode.startswith(("I", "F")) or opened.info.get("bit_depth", _EIGHT_BITS) > _EIGHT_BITS:
        changes.append("16-bit")
    elif opened.mode in ("1", "L", "LA", "La"):
        changes.append("grey")
    elif opened.mode not in ("RGB", "RGBA", "RGBa", "RGBX"):
        changes.append("colours")
    return tuple(changes)


def _orientation(opened: Image.Image, data: bytes) -> int:
    exif = opened.getexif
    if opened.format == "PNG" and not (b"eXIf" in data or b"tiff:Orientation" in data):
        # A PNG may be turned by what stands behind its pixels, so Pillow decodes them to look. Not where nothing is.
        exif = functools.partial(Image.Image.getexif, opened)
    try:
        value = exif().get(_ORIENTATION_TAG, 1)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, struct.error):
        return 1  # a broken EXIF block says nothing about the picture itself
    return int(value) if value in _UPRIGHT else 1


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
    return image.convert("RGB") if image.mode != "RGB" else image


def _extrema(image: Image.Image) -> tuple[float, float]:
    low, high = image.getextrema()
    if isinstance(low, tuple) or isinstance(high, tuple):
        raise TypeError(f"a picture of mode {image.mode} with several bands")
    return float(low), float(high)


def _unusable(reason: str, name: str, message: str) -> UnusableImageError:
    return UnusableImageError(reason, Problem(name, message))
