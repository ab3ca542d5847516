"""Datasets that are zip or tar files: unpacked once, and from then on a folder like any other.

What an archive holds lies in airtune's home under the sha256 of the archive, so two runs of the same archive share it,
and the same archive of another place is not unpacked again. An archive of one folder is that folder: ``birds.zip`` with
all its files below ``birds/`` reads as if ``birds/`` had been named. A folder further down can be named as well:
``s3://bucket/birds.zip/2026``.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from pathlib import Path
from typing import Final

from airtune.datasets.sources.caching import forget_unused, locked
from airtune.datasets.sources.unpacking import SUFFIXES, unpack
from airtune.environment import Environment
from airtune.errors import DataError, NotPermittedError, Problem, StoreError
from airtune.stores.base import MissingError, ObjectInfo, Store, check_key
from airtune.stores.hashing import sha256_of_file
from airtune.stores.opening import local_path, open_store, split_uri

_MEANINGFUL: Final = frozenset(
    [
        "training",
        "validation",
        "dump",
        "train",
        "val",
        "valid",
        "test",
        "dev",
        "images",
        "videos",
        "annotations",
        "labels",
        "data",
    ]
)
"""Folders that say something about what lies in them: an archive of one of these alone is not that folder."""

_NAME_LENGTH: Final = 64


def folder_of(uri: str, cache: Path | None = None) -> str:
    """The URI of the folder that a dataset's URI means: of what an archive holds, or of the folder itself.

    Args:
        uri: ``file://`` or ``s3://``; a folder, an archive, or a folder in an archive.
        cache: where archives are unpacked; default ``cache/archives`` in airtune's home.

    Raises:
        DataError: the archive is gone, damaged or refused (see :func:`airtune.datasets.sources.unpacking.unpack`), or
            has no such folder.
        StoreError: the store failed, or the disk is full.
    """
    found = _split(uri)
    if found is None:
        return uri
    archive, inner, store, info = found
    root = _content(archive, store, info, cache or Environment.read().home / "cache" / "archives")
    if not inner:
        return root.as_uri()
    if not (root / inner).resolve().is_relative_to(root) or not (root / inner).is_dir():
        there = ", ".join(sorted(entry.name for entry in root.iterdir() if entry.is_dir())[:6]) or "none"
        raise DataError(Problem(uri, f"the archive has no folder {inner!r}", allowed=f"its folders: {there}"))
    return (root / inner).as_uri()


def is_archive(uri: str) -> bool:
    """Whether a dataset's URI means an archive, or a folder in one; nothing is unpacked."""
    return _split(uri) is not None


def _split(uri: str) -> tuple[str, str, Store, ObjectInfo] | None:
    """The archive in a URI, what is meant in it, its store, and what the store knows of it; None for a folder."""
    path = local_path(uri)
    parts = (path.as_posix() if path is not None else uri).split("/")
    for end, part in enumerate(parts, start=1):
        if not part.lower().endswith(SUFFIXES):
            continue
        head = "/".join(parts[:end])
        if path is not None:
            if not Path(head).is_file():
                continue
            head = Path(head).as_uri()
        folder, name = split_uri(head)
        store = open_store(folder)
        info = store.stat(name)
        if info is not None:
            inner = "/".join(parts[end:]).strip("/")
            return head, check_key(inner, where=uri) if inner else "", store, info
    return None


def _content(uri: str, store: Store, info: ObjectInfo, cache: Path) -> Path:
    """The folder with what the archive holds."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        known = cache / "known" / hashlib.sha256(f"{uri}\n{info.version}\n{info.size}".encode()).hexdigest()
        known.parent.mkdir(exist_ok=True)
        with locked(known):
            folder = _unpacked_before(known, cache)
            if folder is None:
                folder = _unpack(uri, store, info, cache)
                known.write_text(folder.name, encoding="ascii")
            os.utime(folder)
        return _top(folder)
    except PermissionError as error:
        raise NotPermittedError(
            Problem(str(error.filename or uri), "cannot be read or written", fix="check its owner and mode")
        ) from error
    except OSError as error:
        raise StoreError(Problem(str(cache), f"{uri} cannot be unpacked there: {error.strerror}")) from error


def _unpacked_before(known: Path, cache: Path) -> Path | None:
    try:
        name = known.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    folder = cache / name
    return folder if len(name) == _NAME_LENGTH and folder.is_dir() else None


def _unpack(uri: str, store: Store, info: ObjectInfo, cache: Path) -> Path:
    forget_unused(cache, keep=("known",))
    part = cache / f"{os.getpid()}-{secrets.token_hex(6)}.part"
    part.mkdir()
    try:
        archive = _local_file(uri, store, info, part)
        folder = cache / sha256_of_file(archive)
        if not folder.is_dir():
            content = part / "content"
            content.mkdir()
            if not unpack(archive, content, name=uri):
                raise DataError(Problem(uri, "the archive is empty"))
            try:
                content.rename(folder)
            except OSError:
                if not folder.is_dir():  # not another process that was quicker
                    raise
        return folder
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _local_file(uri: str, store: Store, info: ObjectInfo, part: Path) -> Path:
    path = local_path(uri)
    if path is not None:
        return path
    copy = part / "archive"
    try:
        store.download_file(info.key, copy)
    except MissingError as error:
        raise DataError(Problem(uri, "the archive is gone")) from error
    return copy


def _top(folder: Path) -> Path:
    """The one folder that an archive holds, or all of it."""
    entries = list(folder.iterdir())
    lone = len(entries) == 1 and entries[0].is_dir() and entries[0].name.lower() not in _MEANINGFUL
    return entries[0] if lone else folder
