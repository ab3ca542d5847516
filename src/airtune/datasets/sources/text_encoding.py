"""Which encoding an annotation file is in: read where that is certain, refused where it is not.

UTF-8 is what every format asks for. Tools on Windows also write UTF-16 (and, rarely, UTF-32): a byte order mark says
so, and without one the zero bytes beside the first characters do, which no UTF-8 text has (the rule of RFC 4627,
section 3). Latin-1 and its relatives cannot be told from each other: a line in them is refused with the place of its
first byte that is not UTF-8.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from airtune.datasets.draft import Reject

_MARKS: Final = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ZEROS: Final = (
    (re.compile(rb"[^\0]\0\0\0"), "utf-32-le"),
    (re.compile(rb"\0\0\0[^\0]"), "utf-32-be"),
    (re.compile(rb"[^\0]\0[^\0]\0"), "utf-16-le"),
    (re.compile(rb"\0[^\0]\0[^\0]"), "utf-16-be"),
)


def as_utf8(content: bytes) -> bytes:
    """The content of a text file in UTF-8 without a byte order mark.

    Args:
        content: of the file. Bytes that are not UTF-8 stay where the file is not UTF-16 or UTF-32 either: the line they
            stand on is refused, and the others are not.

    Raises:
        Reject: it begins as UTF-16 or UTF-32 does and cannot be read to its end; the message has the byte.
    """
    encoding, start = _wide(content)
    if encoding is None:
        return content.removeprefix(codecs.BOM_UTF8)
    try:
        return content[start:].decode(encoding).encode("utf-8")
    except UnicodeDecodeError as error:
        name = encoding.upper().rpartition("-")[0]
        raise Reject(
            "annotation-malformed",
            f"the file is {name} and breaks at its byte {start + error.start + 1}: {error.reason}",
        ) from error


def decoded(content: bytes) -> str:
    """The text of a file that is read as a whole.

    Raises:
        Reject: it is in no encoding that can be told; the message has the first byte that is not UTF-8, and its line.
    """
    text = as_utf8(content)
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        byte = f"0x{text[error.start]:02x}"
        raise Reject(
            "annotation-malformed", f"not UTF-8: byte {error.start + 1} of the file, in line {line}, is {byte}"
        ) from error


def is_wide(start: bytes) -> bool:
    """Whether a file that begins with these four bytes is in UTF-16 or UTF-32."""
    return _wide(start)[0] is not None


def _wide(content: bytes) -> tuple[str | None, int]:
    """UTF-16 or UTF-32 by name, and where the text begins; None for everything else."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding, len(mark)
    return next((encoding for pattern, encoding in _ZEROS if pattern.match(content)), None), 0
