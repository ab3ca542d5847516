"""Says how far a transfer is, every two seconds at most."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from airtune.stores.base import Progress

EVERY_S: Final = 2.0


class TransferReport:
    """A progress callback that turns into lines for people.

    Args:
        what: ``uploading``.
        say: takes a line.
    """

    def __init__(self, what: str, say: Callable[[str], None]) -> None:
        self._what = what
        self._say = say
        self._begun = self._told = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Told by the store of every chunk and file."""
        now = time.monotonic()
        if now - self._told < EVERY_S:
            return
        self._told = now
        rate = progress.bytes / max(now - self._begun, 1e-9)
        left = (progress.bytes_total - progress.bytes) / rate if rate > 0 else 0.0
        self._say(
            f"publish: {self._what}: {progress.bytes / 1e6:,.0f} of {progress.bytes_total / 1e6:,.0f} MB, "
            f"{progress.files} of {progress.files_total} files, {rate / 1e6:,.0f} MB/s, about {left:,.0f} s left"
        )
