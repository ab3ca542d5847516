"""What the first bytes of an image file say: enough to refuse it, or to know its size, without the rest of it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from PIL import Image, UnidentifiedImageError

from airtune.datasets.pictures.decoding import LARGEST_PICTURE, UnusableImageError, changes_of, check_size, sizes_of
from airtune.datasets.pictures.image_formats import guess, is_image, open_image
from airtune.errors import Problem

HEAD: Final = 64 * 1024
"""Bytes in which nearly every header fits; a JPEG with a large preview before its size needs more."""

_VP8X_EXIF: Final = 0x08
_VP8X_ANIMATION: Final = 0x02
_VP8X_ALPHA: Final = 0x10
_WEBP_HEADER: Final = 30


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of an image before it is decoded.

    Attributes:
        format: as :class:`airtune.datasets.pictures.decoding.Picture` has it.
        stored_size: width and height in pixels before EXIF orientation.
        width: as it is seen, in pixels.
        height: likewise.
        changes: what decoding would do, as far as a header tells.
    """

    format: str
    stored_size: tuple[int, int]
    width: int
    height: int
    changes: tuple[str, ...]


def read_header(head: bytes, *, name: str, whole: bool) -> Header | None:
    """The header of a file that begins with ``head``.

    Args:
        head: its first bytes.
        name: what to call it in errors.
        whole: whether that is all of it.

    Returns:
        None where more of the file is needed to tell; never when it is whole.

    Raises:
        UnusableImageError: whatever follows, it is no image that can be used: of no known format, or of a size beyond
            the limits.
    """
    if not head:
        raise _unreadable(name, "the file is empty")
    if not is_image(head):
        raise _unreadable(name, f"not an image that can be read: {guess(head)}")
    try:
        found = _webp(head) if head[:4] == b"RIFF" and not whole else _opened(head)
    except Image.DecompressionBombError as error:
        raise UnusableImageError(
            "image-too-large", Problem(name, f"more pixels than the {LARGEST_PICTURE:,} allowed")
        ) from error
    except (Exception, MemoryError) as error:  # the readers raise nearly everything on half a file
        if not whole:
            return None
        words = guess(head) if isinstance(error, UnidentifiedImageError) else str(error)[:200]
        raise _unreadable(name, f"its header cannot be read: {words}") from error
    if found is not None:
        check_size(found.stored_size, name)
    return found


def _opened(head: bytes) -> Header:
    with open_image(head) as opened:
        stored, upright = sizes_of(opened, head)
        return Header(opened.format or "unknown", stored, *upright, changes_of(opened, head))


def _webp(head: bytes) -> Header | None:
    """Pillow wants a WebP file whole; its size stands in its first 30 bytes (RFC 9649)."""
    if len(head) < _WEBP_HEADER:
        return None
    kind, changes = head[12:16], []
    if kind == b"VP8 ":
        width, height = (value & 0x3FFF for value in struct.unpack("<HH", head[26:30]))
    elif kind == b"VP8L":
        (bits,) = struct.unpack("<I", head[21:25])
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        if head[20] & _VP8X_EXIF:
            return None  # it may turn the picture, and stands behind it
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
        changes = [what for what, bit in (("animation", _VP8X_ANIMATION), ("alpha", _VP8X_ALPHA)) if head[20] & bit]
    else:
        return None
    return Header("WEBP", (width, height), width, height, tuple(changes))


def _unreadable(name: str, message: str) -> UnusableImageError:
    return UnusableImageError("image-unreadable", Problem(name, message))
