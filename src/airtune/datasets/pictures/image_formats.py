"""Image files by their content: which formats are read, and what a file is that is none of them.

Pillow reads them all but HEIC, for which libheif is asked (the package pi-heif: decoder alone, LGPL, kept up with
libheif). It is loaded by the first file that needs it.
"""

from __future__ import annotations

import functools
import io
from typing import Final

from PIL import Image

FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "JPEG2000", "AVIF", "HEIF")
"""Pillow's names of what is read (JPEG includes MPO). Not all that Pillow can: EPS would start another program."""

SUFFIXES: Final = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif", ".hif"),
}
"""Of file names, by the format of the content."""

_PILLOWS: Final = tuple(name for name in FORMATS if name != "HEIF")
_HEIF_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_SNIFFED: Final = 16
"""Bytes by which Pillow's readers know their own."""


def open_image(data: bytes) -> Image.Image:
    """The image with its header read and nothing decoded.

    Raises:
        PIL.UnidentifiedImageError: it is no image of :data:`FORMATS`.
        Exception: nearly anything, of a file that is damaged.
    """
    return Image.open(io.BytesIO(data), formats=_formats(data))


def is_image(head: bytes) -> bool:
    """Whether a file that begins so is an image of :data:`FORMATS`, by its first bytes alone."""
    Image.init()
    for name in _formats(head):
        _, accept = Image.OPEN[name]
        if accept is None or accept(head[:_SNIFFED]) is True:
            return True
    return False


def guess(data: bytes) -> str:
    """What a file that is no image seems to be, in words."""
    head = data[:512].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html")):
        return "it is an HTML page (a download that went wrong?)"
    if head.startswith((b"<svg", b"<?xml")):
        return "it is XML or SVG, not pixels"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; run `git lfs pull` where the dataset comes from"
    if head.startswith(b"%pdf"):
        return "it is a PDF"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "it begins as HEIC, but no whole picture is in it (was it cut off?)"
    if not any(data[:512]):
        return "it begins with nothing but zeros (an interrupted copy?)"
    return "its content is none of AVIF, BMP, GIF, HEIC, JPEG, JPEG 2000, PNG, TIFF, WebP"


def _formats(head: bytes) -> tuple[str, ...]:
    if head[4:8] != b"ftyp" or head[8:12] not in _HEIF_BRANDS:
        return _PILLOWS
    _know_heif()
    return FORMATS


@functools.cache
def _know_heif() -> None:
    import pi_heif

    # One thread: several images are decoded at a time already.
    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
