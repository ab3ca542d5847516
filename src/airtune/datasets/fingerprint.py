"""Digests by which one dataset is told from another, whatever its order, its names and its format."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    import pyarrow as pa

_VERSION: Final = 1
_HASHED_AT_ONCE: Final = 65_536


def sample_digest(
    *, task: str, image_digests: Sequence[str], prompt: str, truth: Mapping[str, Any], video: str | None = None
) -> str:
    """sha256 (hex) of what a sample is: task, images or video by content, prompt and truth."""
    content = [_VERSION, task, list(image_digests), video, prompt, truth]
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def fingerprint_of(columns: Iterable[pa.Array]) -> str:
    """The same of digests that come in columns of arrow: of any number, in 64 bytes each."""
    import numpy as np
    import pyarrow as pa

    parts = [np.empty(0, "S64")]
    for column in columns:
        # As they stand in memory: a million texts of Python would take twice as much, and longer to sort.
        fixed = column.cast(pa.binary()).cast(pa.binary(64))
        view = np.frombuffer(fixed.buffers()[1], "S64")
        parts.append(view[fixed.offset : fixed.offset + len(fixed)])
    digests = np.concatenate(parts)
    del parts
    digests.sort()
    state = hashlib.sha256(f"airtune samples {_VERSION}".encode())
    for begin in range(0, len(digests), _HASHED_AT_ONCE):
        state.update(b"\n" + b"\n".join(digests[begin : begin + _HASHED_AT_ONCE].tolist()))
    return state.hexdigest()


def fingerprint(digests: Iterable[str]) -> str:
    """sha256 (hex) over the digests of samples, in whatever order they come; a sample twice counts twice."""
    return hashlib.sha256("\n".join([f"airtune samples {_VERSION}", *sorted(digests)]).encode()).hexdigest()
