"""What archives and tables become in airtune's home: made once by one process, removed when nobody has used it."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_KEPT: Final = 30 * 86_400
"""Seconds after which what nobody has used is removed."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone with ``path`` among all processes of this machine; it need not exist."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def forget_unused(cache: Path, keep: Collection[str] = ()) -> None:
    """Remove what no run has used for a month, and what killed processes left.

    Args:
        cache: the folder.
        keep: names in it that stay.
    """
    for entry in cache.iterdir():
        try:
            if entry.name in keep or time.time() - entry.stat().st_mtime <= _KEPT:
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink()
        except FileNotFoundError:
            continue  # another process was quicker
