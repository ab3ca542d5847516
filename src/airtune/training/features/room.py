"""The room that vision features may take on this machine, and who makes way when it is used up."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from airtune.training.features.files import SUFFIX

LOCK: Final = ".airtune-lock"

_COUNT_AGAIN: Final = 256 * 2**20
_SHARE_OF_FREE: Final = 0.5


class Room:
    """Counts what lies below ``cache/features`` and removes what was used least recently.

    What a living run reads is never removed: it holds a shared lock on its folder. Removing is safe in any case: a
    file that is mapped stays readable, and features that are gone are computed again.

    Args:
        root: ``cache/features``.
        folder: the folder in it that this run fills.
        limit: bytes that all folders together may take; never more than half of what is free on the disk.
    """

    def __init__(self, root: Path, folder: Path, limit: int) -> None:
        self._root = root
        self._folder = folder
        self._since = time.time() - 1.0  # the file system's clock ticks more slowly
        self._used = _size(root)
        self._counted_at = self._used
        self.limit = min(limit, self._used + int(shutil.disk_usage(root).free * _SHARE_OF_FREE))
        self._lock, self._alone = _hold(folder)

    def close(self) -> None:
        """Lets others remove what this run has used."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def take(self, size: int) -> bool:
        """Makes room for ``size`` bytes more; False when there is none to be made."""
        if self._used - self._counted_at > _COUNT_AGAIN:  # other processes write as well
            self._used = self._counted_at = _size(self._root)
        if self._used + size > self.limit and not self._make_way(self._used + size - self.limit):
            return False
        self._used += size
        return True

    def _make_way(self, wanted: int) -> bool:
        """Removes files until ``wanted`` bytes are gone, those used least recently first: all of that, or nothing."""
        old = sorted(self._removable())
        if sum(size for _, size, _ in old) < wanted:
            return False
        for _, size, path in old:
            if wanted <= 0:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                wanted -= size
                self._used -= size
        return wanted <= 0

    def _removable(self) -> Iterator[tuple[float, int, Path]]:
        for folder in _folders(self._root):
            own = folder.name == self._folder.name
            if (own and not self._alone) or (not own and _in_use(folder)):
                continue
            for path, found in _files(folder):
                if not own or found.st_mtime < self._since:  # what this run uses was touched when it began
                    yield found.st_mtime, found.st_size, path


def _hold(folder: Path) -> tuple[IO[bytes] | None, bool]:
    """A shared lock on a folder, and whether nobody else had one; no lock where the disk knows none."""
    with contextlib.suppress(OSError):
        lock = (folder / LOCK).open("ab")
        alone = True
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            alone = False
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return lock, alone
    return None, False


def _in_use(folder: Path) -> bool:
    try:
        with (folder / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _size(root: Path) -> int:
    return sum(found.st_size for folder in _folders(root) for _, found in _files(folder))


def _folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in folder.glob(f"*/*{SUFFIX}"):
        with contextlib.suppress(OSError):  # somebody else has removed it
            yield path, path.stat()
