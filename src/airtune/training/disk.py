"""A disk that is full or fails, told from other errors: each library that writes says it in its own way."""

from __future__ import annotations

import errno
import re
from typing import Final

_NUMBERS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
_IN_SAFETENSORS: Final = re.compile(r"\(os error (\d+)\)")
_IN_TORCH: Final = ("inline_container.cc", "PytorchStreamWriter failed")
"""Where torch writes its archives; it does not pass the system's reason on."""


def disk_fault(error: BaseException) -> str | None:
    """What the disk has said, in a few words; None when an error is about something else."""
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__) if error.errno in _NUMBERS else None
    text = str(error)
    if type(error).__name__ == "SafetensorError":
        found = _IN_SAFETENSORS.search(text)
        return text if found is not None and int(found[1]) in _NUMBERS else None
    if isinstance(error, RuntimeError) and any(mark in text for mark in _IN_TORCH):
        return "a file could not be written to its end: is the disk full?"
    return None
