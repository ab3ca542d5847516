"""Digests by which one dataset is told from another, whatever its order, its names and its format."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

_VERSION: Final = 1


def sample_digest(
    *, task: str, image_digests: Sequence[str], prompt: str, truth: Mapping[str, Any], video: str | None = None
) -> str:
    """sha256 (hex) of what a sample is: task, images or video by content, prompt and truth."""
    content = [_VERSION, task, list(image_digests), video, prompt, truth]
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def fingerprint(digests: Iterable[str]) -> str:
    """sha256 (hex) over the digests of samples, in whatever order they come; a sample twice counts twice."""
    return hashlib.sha256("\n".join([f"airtune samples {_VERSION}", *sorted(digests)]).encode()).hexdigest()
