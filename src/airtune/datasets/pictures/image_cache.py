"""Copies of images on this disk, by the sha256 of their content, within a limit: those used longest ago go first."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from airtune.stores.hashing import sha256_of_file

_GRACE_S: Final = 60.0
"""Seconds for which a copy is safe after its last use: whoever was given its path can open it."""

_SWEEP_SHARE: Final = 0.02
"""Of the limit; after so many new bytes the folder is swept again."""

_KEPT_SHARE: Final = 0.9
"""Of the limit; a sweep goes down to it, so that not every new copy needs one."""

_ABANDONED_S: Final = 86_400.0
_PARTIAL: Final = ".part"


class ImageCache:
    """A folder of copies that several processes share.

    A copy is held against its name when it is read, so one that was damaged is the same as none. Between two sweeps the
    folder may exceed its limit by a fiftieth a process, and by what was used within the last minute.

    Args:
        folder: made when the first copy is kept.
        limit: bytes.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._new = limit  # so that the first copy sweeps what earlier processes left
        self._lock = threading.Lock()

    def __getstate__(self) -> tuple[Path, int]:
        return self.folder, self.limit

    def __setstate__(self, state: tuple[Path, int]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def path(self, digest: str) -> Path:
        """Where the copy is, or would be."""
        return self.folder / digest[:2] / digest

    def read(self, digest: str) -> bytes | None:
        """The content whose sha256 (hex) is ``digest``, or None."""
        place = self.path(digest)
        try:
            content = place.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(content).hexdigest() != digest:
            return None
        _touch(place)
        return content

    def has(self, digest: str) -> bool:
        """Whether there is an undamaged copy; it is safe for the next minute."""
        place = self.path(digest)
        try:
            whole = sha256_of_file(place) == digest
        except OSError:
            return False
        _touch(place)
        return whole

    def keep(self, digest: str, content: bytes) -> Path:
        """Keep a copy; its file appears whole or not at all.

        Args:
            digest: sha256 (hex) of the content.
            content: of the file.

        Returns:
            Where it is.
        """
        return self.fill(lambda temporary: temporary.write_bytes(content), digest)

    def fill(self, write: Callable[[Path], object], digest: str | None = None) -> Path:
        """The same of content that ``write`` puts into the file it is given; its ``digest`` may be found out then."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f"{os.getpid()}-{secrets.token_hex(6)}{_PARTIAL}"
        try:
            write(temporary)
            size = temporary.stat().st_size
            place = self.path(digest or sha256_of_file(temporary))
            place.parent.mkdir(exist_ok=True)
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)
        with self._lock:
            self._new += size
            due = self._new >= max(1, int(self.limit * _SWEEP_SHARE))
            self._new = 0 if due else self._new
        if due:
            self.sweep()
        return place

    def sweep(self) -> int:
        """Delete the copies that were used longest ago until the limit is kept; does nothing while another sweeps.

        Returns:
            How many bytes are left.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 0
            return self._swept()
        finally:
            os.close(lock)

    def _swept(self) -> int:
        now = time.time()
        copies = sorted(self._copies(now))
        total = sum(size for _, size, _ in copies)
        if total <= self.limit:
            return total
        for used, size, path in copies:
            if total <= self.limit * _KEPT_SHARE or now - used < _GRACE_S:
                break
            path.unlink(missing_ok=True)
            total -= size
        return total

    def _copies(self, now: float) -> Iterator[tuple[float, int, Path]]:
        """Time of last use, bytes and path of every copy; what a killed process left half written goes."""
        for entry in os.scandir(self.folder):
            if entry.is_dir(follow_symlinks=False):
                for copy in os.scandir(entry.path):
                    try:
                        found = copy.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    yield found.st_atime, found.st_size, Path(copy.path)
            elif entry.name.endswith(_PARTIAL):
                try:
                    begun = entry.stat(follow_symlinks=False).st_mtime
                except FileNotFoundError:  # it was finished meanwhile
                    continue
                if now - begun > _ABANDONED_S:
                    Path(entry.path).unlink(missing_ok=True)


def _touch(path: Path) -> None:
    """Note the use: many disks are mounted so that reading leaves the time of access as it is."""
    try:
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    except OSError:
        return  # swept away meanwhile, or another's file: it was read all the same
