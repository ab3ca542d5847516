"""What a workspace knows about its files: which version of the store each one is a copy of."""

from __future__ import annotations

import json
import os
import secrets
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from airtune.stores.base import PRIVATE_PREFIX, ObjectInfo

INDEX_NAME: Final = f"{PRIVATE_PREFIX}index.json"


@dataclass(frozen=True, slots=True)
class Copy:
    """A local file and the object it equals: the object's version, the file's bytes and time (ns)."""

    version: str
    size: int
    mtime_ns: int


class WorkspaceIndex:
    """The record of copies, kept in a small file in the workspace; safe to lose, then things are copied again.

    Args:
        workspace: the local folder.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._file = workspace / INDEX_NAME
        self._lock = threading.Lock()
        self._copies = self._load()

    def matches(self, path: str, remote: ObjectInfo | None) -> bool:
        """Whether the local file is untouched since it was equal to ``remote``."""
        return remote is not None and self.knows(path, remote) and self.untouched(path)

    def knows(self, path: str, remote: ObjectInfo) -> bool:
        """Whether ``remote`` is the version that the local file was last equal to."""
        copy = self._copies.get(path)
        return copy is not None and copy.version == remote.version

    def untouched(self, path: str) -> bool:
        """Whether the local file has not changed since it was copied."""
        copy = self._copies.get(path)
        if copy is None:
            return False
        try:
            found = (self._workspace / path).stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (copy.size, copy.mtime_ns)

    def record(self, path: str, remote: ObjectInfo, found: os.stat_result) -> None:
        """The local file, as ``found`` saw it, equals ``remote``."""
        with self._lock:
            self._copies[path] = Copy(remote.version, found.st_size, found.st_mtime_ns)

    def forget(self, path: str) -> None:
        """Nothing is known about ``path`` any more."""
        with self._lock:
            self._copies.pop(path, None)

    def save(self) -> None:
        """Write the index, atomically."""
        with self._lock:
            self._workspace.mkdir(parents=True, exist_ok=True)
            temporary = self._workspace / f"{PRIVATE_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
            copies = {path: asdict(copy) for path, copy in sorted(self._copies.items())}
            temporary.write_text(json.dumps(copies), encoding="utf-8")
            temporary.replace(self._file)

    def _load(self) -> dict[str, Copy]:
        try:
            loaded = json.loads(self._file.read_text(encoding="utf-8"))
            return {str(path): Copy(**copy) for path, copy in loaded.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
