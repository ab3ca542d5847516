"""What a zip or tar file holds, entry by entry, with every name and link checked before anybody writes there."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import posixpath
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from airtune.errors import DataError, Problem, SettingsError, StoreError
from airtune.stores.base import check_key

_RATIO: Final = 200
"""How many times its own size an archive may become: photographs become 1, JSON lines 20, a bomb 1,000 and more."""
_ALWAYS_ALLOWED: Final = 1024**3
_LARGEST_HEADER: Final = 1024**2
_CHUNK: Final = 1024**2
_ENCRYPTED: Final = 0x1
_UTF_8: Final = 0x800
_GZIP, _BZIP2, _XZ, _ZSTANDARD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"
_COMPRESSED: Final = (_GZIP, _BZIP2, _XZ, _ZSTANDARD)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: a file with its content, or a link with the path it leads to, relative to the archive."""

    name: str
    content: IO[bytes] | None
    link: str | None = None


class Budget:
    """How many bytes may still come out of an archive.

    Args:
        archive: the file.
        folder: where its content goes.
        name: what to call it in errors.
    """

    def __init__(self, archive: Path, folder: Path, name: str) -> None:
        size = archive.stat().st_size
        self._name = name
        self._honest = max(_ALWAYS_ALLOWED, _RATIO * size)
        self._room = shutil.disk_usage(folder).free
        self._written = self._read = 0

    def write(self, count: int) -> None:
        """``count`` bytes are about to be written."""
        self._written += count
        self._check(self._written)
        if self._written > self._room:
            raise StoreError(
                Problem(
                    self._name, f"it does not fit on this disk: {self._room:,} bytes are free", fix="free some room"
                )
            )

    def read(self, count: int) -> None:
        """``count`` bytes came out of a decompressor."""
        self._read += count
        self._check(self._read)

    def _check(self, count: int) -> None:
        if count > self._honest:
            raise refused(
                self._name,
                f"more than {self._honest:,} bytes come out of it: a decompression bomb?",
                fix="name the unpacked folder",
            )


def entries_of(archive: Path, name: str, opened: ExitStack, budget: Budget) -> Iterator[Entry]:
    """Every file and link of an archive, in its order; the content of one is read before the next is asked for.

    Args:
        archive: a zip or tar file, told by its content.
        name: what to call it in errors.
        opened: closes what has to be closed at the end.
        budget: told of what comes out of a decompressor.

    Raises:
        DataError: an entry is refused.
        Exception: nearly anything that :mod:`zipfile`, :mod:`tarfile` and the decompressors raise on damage.
    """
    return _zip_entries(archive, name) if _is_zip(archive) else _tar_entries(archive, name, opened, budget)


def _is_zip(archive: Path) -> bool:
    with archive.open("rb") as file:
        start = file.read(262)
    if start[:2] == b"PK" or start.startswith(_COMPRESSED) or start[257:262] == b"ustar":
        return start[:2] == b"PK"
    return zipfile.is_zipfile(archive)  # with something in front of it, as self-extracting ones have


def _zip_entries(archive: Path, name: str) -> Iterator[Entry]:
    with zipfile.ZipFile(archive) as opened:
        entries = opened.infolist()
        locked = sum(1 for entry in entries if entry.flag_bits & _ENCRYPTED)
        if locked:
            raise refused(name, f"{locked} of its {len(entries)} files are encrypted", fix="pack it without a password")
        for entry in entries:
            kind = stat.S_IFMT(entry.external_attr >> 16)
            key = _clean(_zip_name(entry).replace("\\", "/"), name, folder=entry.is_dir())
            if key is None:
                continue
            if kind == stat.S_IFLNK:
                with opened.open(entry) as content:
                    yield Entry(key, None, _inside(key, os.fsdecode(content.read(4096)), name))
            elif kind in (0, stat.S_IFREG):
                with opened.open(entry) as content:
                    yield Entry(key, content)
            else:
                raise refused(name, f"{key!r} is neither a file nor a folder")


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """The entry's name; many tools write UTF-8 without saying so, and zipfile then takes it for code page 437."""
    if entry.flag_bits & _UTF_8 or entry.filename.isascii():
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename


class _Decompressed:
    """A stream that counts what comes out of it."""

    def __init__(self, stream: Any, budget: Budget) -> None:
        self._stream = stream
        self._budget = budget

    def read(self, count: int) -> bytes:
        """At most ``count`` bytes; none at the end."""
        data: bytes = self._stream.read(count)
        self._budget.read(len(data))
        return data


def _tar_entries(archive: Path, name: str, opened: ExitStack, budget: Budget) -> Iterator[Entry]:
    stream: Any = _Decompressed(opened.enter_context(_decompressed(archive)), budget)
    header = _header_class(name)
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=header) as tar:
        for entry in tar:
            tar.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
            key = _clean(entry.name, name, folder=entry.isdir())
            if key is None:
                continue
            if entry.issparse():
                raise refused(name, f"{key!r} is a sparse file", fix="pack it without --sparse")
            if entry.isreg():
                yield Entry(key, tar.extractfile(entry))
            elif entry.issym():
                yield Entry(key, None, _inside(key, entry.linkname, name))
            elif entry.islnk():
                yield Entry(key, None, _inside("", entry.linkname, name))
            else:
                raise refused(name, f"{key!r} is neither a file nor a folder nor a link")
        # tarfile ends in silence at a header that it cannot read, and where the file was cut between two entries.
        if not header.ended:
            raise tarfile.ReadError("the mark of its end is missing")
        while rest := tar.fileobj.read(_CHUNK):  # also holds the checksum against the data
            if rest.strip(b"\0"):
                raise refused(name, "there is more behind its end", fix="pack one archive instead of joining several")


def _header_class(name: str) -> Any:
    class Header(tarfile.TarInfo):
        """A header that refuses to name more than a name, and remembers whether the archive's end was met."""

        ended = False

        @classmethod
        def frombuf(cls, buf: Any, encoding: str, errors: str) -> Any:
            """See :class:`tarfile.TarInfo`."""
            try:
                found = super().frombuf(buf, encoding, errors)
            except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
                cls.ended = True
                raise
            if found.type in b"xgXLK" and found.size > _LARGEST_HEADER:
                raise refused(name, f"a header of {found.size:,} bytes stands in it")
            return found

    return Header


def _decompressed(archive: Path) -> Any:
    with archive.open("rb") as file:
        start = file.read(6)
    if start.startswith(_GZIP):
        return gzip.open(archive)
    if start.startswith(_BZIP2):
        return bz2.open(archive)
    if start.startswith(_XZ):
        return lzma.open(archive)
    if start.startswith(_ZSTANDARD):
        import pyarrow as pa

        return pa.CompressedInputStream(pa.OSFile(str(archive)), "zstd")
    return archive.open("rb")


def _clean(path: str, name: str, *, folder: bool) -> str | None:
    """The path of an entry as a key; None for a folder, which its files make."""
    cleaned = posixpath.normpath(path) if path and not path.startswith("/") and ".." not in path.split("/") else path
    if folder and cleaned == ".":
        return None
    try:
        check_key(cleaned)
    except SettingsError as error:
        raise refused(name, f"the name {path[:200]!r} in it cannot be used: {error.problems[0].message}") from error
    return None if folder else cleaned


def _inside(link: str, target: str, name: str) -> str:
    """What a link leads to, relative to the archive."""
    meant = posixpath.normpath(posixpath.join(posixpath.dirname(link), target))
    if target.startswith("/") or meant == ".." or meant.startswith("../"):
        raise refused(name, f"the link {link or target!r} leads out of the archive, to {target[:200]!r}")
    return meant


def refused(name: str, message: str, *, fix: str = "pack the archive again") -> DataError:
    """The error that says why an archive is not unpacked."""
    return DataError(Problem(name, f"the archive is not unpacked: {message}", fix=fix))
