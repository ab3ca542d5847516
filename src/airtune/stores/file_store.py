"""A folder as a store: atomic writes, exclusive creation, compare-and-swap under a lock."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from airtune.errors import NotPermittedError, Problem, StoreError
from airtune.stores.base import PRIVATE_PREFIX, FolderNames, MissingError, ObjectInfo, Store, check_key

_CHUNK = 1024 * 1024


class FileStore(Store):
    """The folder ``root``, which is made on the first write.

    Args:
        root: an absolute path.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = root.as_uri().rstrip("/")

    def read(self, key: str) -> bytes:
        """See :class:`Store`."""
        path = self._path(key)
        with _told(path):
            if not path.is_file():
                raise MissingError(Problem(str(path), "the file does not exist"))
            return path.read_bytes()

    def read_part(self, key: str, start: int, length: int) -> bytes:
        """See :class:`Store`."""
        path = self._path(key)
        with _told(path):
            if not path.is_file():
                raise MissingError(Problem(str(path), "the file does not exist"))
            with path.open("rb") as stream:
                stream.seek(start)
                return stream.read(length)

    def write(self, key: str, data: bytes) -> None:
        """See :class:`Store`."""
        path = self._path(key)
        with _told(path), _temporary(path) as temporary:
            _write_durably(temporary, data)
            _put_in_place(temporary, path)

    def stat(self, key: str) -> ObjectInfo | None:
        """See :class:`Store`."""
        return _info(self._path(key), key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See :class:`Store`; follows symbolic links, each folder once."""
        start = self._path(prefix) if prefix else self.root
        with _told(start):
            if start.is_file():
                info = _info(start, prefix)
                return iter([info] if info else [])
            keys = sorted(_walk(start, self.root), key=os.fsencode)
            found = [info for key in keys if (info := _info(self.root / key, key))]
        return iter(found)

    def folders(self, prefix: str = "") -> FolderNames:
        """See :class:`Store`."""
        folder = self._path(prefix) if prefix else self.root
        with _told(folder):
            if not folder.is_dir():
                return []
            with os.scandir(folder) as entries:
                return sorted(
                    entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(PRIVATE_PREFIX)
                )

    def delete(self, key: str) -> None:
        """See :class:`Store`; folders that become empty go too."""
        path = self._path(key)
        with _told(path):
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self.root or not folder.is_relative_to(self.root):
                    break
                try:
                    folder.rmdir()
                except OSError:
                    break

    def create(self, key: str, data: bytes) -> bool:
        """See :class:`Store`; a hard link is the test and the act in one."""
        path = self._path(key)
        with _told(path), _temporary(path) as temporary:
            _write_durably(temporary, data)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                    raise
                with _locked(path.parent):  # a file system without hard links
                    if path.exists():
                        return False
                    _put_in_place(temporary, path)
            _sync_folder(path.parent)
            return True

    def read_versioned(self, key: str) -> tuple[bytes, str] | None:
        """See :class:`Store`."""
        path = self._path(key)
        with _told(path):
            try:
                with path.open("rb") as stream:  # one open file: its content and its version belong together
                    version = _version(os.fstat(stream.fileno()))
                    return stream.read(), version
            except (FileNotFoundError, NotADirectoryError):
                return None

    def replace(self, key: str, data: bytes, version: str | None) -> bool:
        """See :class:`Store`; the comparison and the rename happen under an ``fcntl`` lock."""
        path = self._path(key)
        with _told(path), _temporary(path) as temporary:
            _write_durably(temporary, data)
            with _locked(path.parent):
                now = _info(path, key)
                if (now.version if now else None) != version:
                    return False
                _put_in_place(temporary, path)
            return True

    def upload_file(self, path: Path, key: str, on_bytes: Callable[[int], None] | None = None) -> ObjectInfo:
        """See :class:`Store`."""
        target = self._path(key)
        _copy(path, target, on_bytes)
        return self._stat_or_raise(key)

    def download_file(self, key: str, path: Path, on_bytes: Callable[[int], None] | None = None) -> ObjectInfo:
        """See :class:`Store`."""
        info = self._stat_or_raise(key)
        _copy(self._path(key), path, on_bytes)
        return info

    def sub(self, prefix: str) -> FileStore:
        """See :class:`Store`."""
        return FileStore(self._path(prefix))

    def _path(self, key: str) -> Path:
        return self.root / check_key(key, where=self.uri)

    def _stat_or_raise(self, key: str) -> ObjectInfo:
        info = self.stat(key)
        if info is None:
            raise MissingError(Problem(str(self._path(key)), "the file does not exist"))
        return info


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what the operating system says into an error that names the path and the fix."""
    try:
        yield
    except (MissingError, FileExistsError):
        raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise NotPermittedError(
                Problem(str(path), f"the file system refuses: {reason}", fix="check the folder's owner and mode")
            ) from error
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise MissingError(Problem(str(path), f"does not exist: {reason}")) from error
        fix = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
        raise StoreError(Problem(str(path), f"the file system failed: {reason}", fix=fix)) from error


def _version(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"


def _info(path: Path, key: str) -> ObjectInfo | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link that leads to itself leads to no file
            return None
        raise StoreError(Problem(str(path), f"the file system failed: {error.strerror}")) from error
    if not path.is_file():
        return None
    return ObjectInfo(key, found.st_size, _version(found))


def _walk(folder: Path, root: Path) -> Iterator[str]:
    seen: set[tuple[int, int]] = set()
    for current, folders, files in os.walk(folder, followlinks=True):
        here = Path(current)
        identity = here.stat()
        if (identity.st_dev, identity.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((identity.st_dev, identity.st_ino))
        folders[:] = [name for name in folders if not name.startswith(PRIVATE_PREFIX)]
        for name in files:
            if not name.startswith(PRIVATE_PREFIX):
                yield (here / name).relative_to(root).as_posix()


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A name beside ``path`` for content that is not ready; gone afterwards, whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{PRIVATE_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _put_in_place(temporary: Path, path: Path) -> None:
    """Rename, with a time later than the old file's: two versions are never alike, however fast the writer."""
    try:
        before = path.stat().st_mtime_ns
    except FileNotFoundError:
        before = 0
    written = temporary.stat()
    if written.st_mtime_ns <= before:
        os.utime(temporary, ns=(written.st_atime_ns, before + 1000))
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems refuse; the rename itself is still atomic
        pass
    finally:
        os.close(descriptor)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / f"{PRIVATE_PREFIX}lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # closing releases the lock


def _copy(source: Path, target: Path, on_bytes: Callable[[int], None] | None) -> None:
    with _told(source), source.open("rb") as reader, _told(target), _temporary(target) as temporary:
        with temporary.open("wb") as writer:
            while chunk := reader.read(_CHUNK):
                writer.write(chunk)
                if on_bytes:
                    on_bytes(len(chunk))
            writer.flush()
            os.fsync(writer.fileno())
        _put_in_place(temporary, target)
