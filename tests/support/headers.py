"""Files that begin as images and go on as nothing."""

from __future__ import annotations

import struct
import zlib


def png_of(width: int, height: int) -> bytes:
    """The first bytes of a PNG that claims to be so large."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\1\0IDAT" + bytes(90)
