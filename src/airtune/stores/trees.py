"""Whole folders to and from a store: several files at a time, markers last, progress on record."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from airtune.errors import Problem
from airtune.stores.base import (
    PRIVATE_PREFIX,
    FileRecord,
    MissingError,
    Progress,
    ProgressCallback,
    check_key,
    is_marker,
    join,
)
from airtune.stores.hashing import sha256_of_file

if TYPE_CHECKING:
    from airtune.stores.base import Store

FILES_AT_A_TIME: Final = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


def local_files(local: Path) -> list[str]:
    """Every file below ``local`` (private names left out), as sorted relative paths with ``/``."""
    if local.is_file():
        return [""]
    found = []
    for path in local.rglob("*"):
        relative = path.relative_to(local)
        if path.is_file() and not any(part.startswith(PRIVATE_PREFIX) for part in relative.parts):
            found.append(relative.as_posix())
    return sorted(found, key=str.encode)


class ProgressMeter:
    """Adds up what several threads have moved, and tells a callback.

    Args:
        files: how many files there are.
        size: how many bytes they have.
        callback: told after every chunk and every file; None stays silent.
    """

    def __init__(self, files: int, size: int, callback: ProgressCallback | None) -> None:
        self._lock = threading.Lock()
        self._files, self._bytes = 0, 0
        self._files_total, self._bytes_total = files, size
        self._callback = callback

    def add_bytes(self, count: int) -> None:
        """``count`` more bytes are there (negative when a part is sent again)."""
        self._tell(0, count)

    def add_file(self) -> None:
        """One more file is there."""
        self._tell(1, 0)

    def _tell(self, files: int, count: int) -> None:
        if self._callback is None:
            return
        with self._lock:
            self._files += files
            self._bytes += count
            self._callback(Progress(self._files, self._files_total, self._bytes, self._bytes_total))


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """``work`` for every item in a few threads; the results in order, the first error raised."""
    todo = list(items)
    with ThreadPoolExecutor(min(FILES_AT_A_TIME, max(1, len(todo)))) as pool:
        futures: list[Future[Result]] = [pool.submit(work, item) for item in todo]
        wait(futures, return_when=FIRST_EXCEPTION)
        for future in futures:
            if future.done() and not future.cancelled() and future.exception() is not None:
                pool.shutdown(cancel_futures=True)
        return [future.result() for future in futures if not future.cancelled()]


def parted_from_markers(paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """``paths`` parted into ordinary files and ``COMPLETE`` markers."""
    ordinary: list[str] = []
    markers: list[str] = []
    for path in paths:
        (markers if is_marker(path) else ordinary).append(path)
    return ordinary, markers


def upload_tree(
    store: Store, local: Path, prefix: str, *, only: Collection[str] | None, progress: ProgressCallback | None
) -> list[FileRecord]:
    """See :meth:`airtune.stores.base.Store.upload_tree`."""
    paths = sorted(only, key=str.encode) if only is not None else local_files(local)
    missing = [path for path in paths if not (local / path).is_file()]
    if missing:
        raise MissingError([Problem(str(local / path), "the file to upload does not exist") for path in missing])
    meter = ProgressMeter(len(paths), sum((local / path).stat().st_size for path in paths), progress)

    def send(path: str) -> FileRecord:
        source = local / path
        digest = sha256_of_file(source)
        info = store.upload_file(source, join(prefix, check_key(path)), meter.add_bytes)
        meter.add_file()
        return FileRecord(path, info.size, digest)

    ordinary, markers = parted_from_markers(paths)
    records = in_parallel(send, ordinary) + in_parallel(send, markers)
    return sorted(records, key=lambda record: record.path.encode())


def download_tree(
    store: Store, prefix: str, local: Path, *, only: Collection[str] | None, progress: ProgressCallback | None
) -> list[FileRecord]:
    """See :meth:`airtune.stores.base.Store.download_tree`."""
    start = len(prefix) + 1 if prefix else 0
    there = {info.key[start:]: info for info in store.list(prefix) if info.key != prefix}
    wanted = set(there) if only is None else set(only)
    if not wanted or wanted - set(there):
        named = sorted(wanted - set(there)) or [""]
        raise MissingError([Problem(f"{store.uri}/{join(prefix, path)}", "does not exist") for path in named])
    for path in wanted:
        check_key(path, where=store.uri)
    meter = ProgressMeter(len(wanted), sum(there[path].size for path in wanted), progress)

    def bring(path: str) -> FileRecord:
        target = local / path
        info = store.download_file(join(prefix, path), target, meter.add_bytes)
        meter.add_file()
        return FileRecord(path, info.size, sha256_of_file(target))

    ordinary, markers = parted_from_markers(sorted(wanted, key=str.encode))
    records = in_parallel(bring, ordinary) + in_parallel(bring, markers)
    return sorted(records, key=lambda record: record.path.encode())
