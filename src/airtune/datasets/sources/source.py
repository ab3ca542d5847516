"""A dataset's folder as it lies there: what is in it, and its annotation files."""

from __future__ import annotations

import codecs
import difflib
import functools
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from airtune.datasets.draft import Reject, short
from airtune.datasets.sources.archives import folder_of
from airtune.datasets.sources.tables import Tables
from airtune.datasets.sources.text_encoding import as_utf8, is_wide
from airtune.datasets.sources.unpacking import LITTER
from airtune.errors import DataError, NotPermittedError, Problem, SettingsError
from airtune.stores.base import MissingError, Store, check_key
from airtune.stores.opening import local_path, open_store, split_uri
from airtune.stores.permission import check_source

WHERE: Final = "spec.flow.blocks[dataset].settings.airtune.source"
"""Where a run.json names the dataset."""

_OTHER_ARCHIVES: Final = (".7z", ".rar", ".gz", ".zst", ".xz", ".bz2")
_DRIVE: Final = re.compile(r"[A-Za-z]:/")
_READ_AT_ONCE: Final = 16
_CHUNK: Final = 256
_LARGEST_TEXT: Final = 64 * 1024 * 1024
_LARGEST_WIDE: Final = 256 * 1024 * 1024
_HEAD: Final = 64 * 1024
_PART: Final = 4 * 1024 * 1024


class Source:
    """What lies under a dataset's URI.

    Attributes:
        uri: the root, without a slash at its end.
        keys: size in bytes of every file, by key relative to the root; what operating systems leave about is not in it.
    """

    def __init__(self, uri: str, store: Store, keys: dict[str, int], top: str = "", odd: Iterable[str] = ()) -> None:
        self.uri = uri
        self._odd = tuple(odd)
        self.keys = keys
        self._store_uri = store.uri
        self.__dict__["_store"] = store
        # The same name may be spelt with composed or decomposed letters: archives made on a Mac do it the other way.
        self._composed = {_composed(key): key for key in keys if not key.isascii()}
        self._folders: dict[str, dict[str, str]] | None = None
        root = local_path(store.uri)
        self._real_root = root.resolve() if root is not None else None
        self._inside: dict[str, bool] = {}
        self._top = top  # names in an archive of one folder may begin with that folder, which is the root then

    def __getstate__(self) -> dict[str, Any]:
        # A store holds connections; another process opens its own.
        return {name: value for name, value in self.__dict__.items() if not isinstance(value, Store)}

    @functools.cached_property
    def _store(self) -> Store:
        return open_store(self._store_uri)

    @classmethod
    def open(cls, uri: str) -> Source:
        """Look at what lies under ``uri``: a folder, or a zip or tar file, which is unpacked first.

        Raises:
            DataError: nothing, or neither a folder nor an archive that can be unpacked.
            NotPermittedError: the platform does not allow datasets from there.
            SettingsError: it is not a URI.
        """
        uri = uri.rstrip("/")
        check_source(uri, where=WHERE)
        folder = folder_of(uri)
        path = local_path(folder)
        if path is not None:
            _check_folder(path, uri)
        store = open_store(folder)
        try:
            found, odd = _contents(store)
        except MissingError as error:
            raise _no_dataset(uri, "does not exist") from error
        if not found:
            if path is None and "/" in uri.removeprefix("s3://") and _is_object(uri):
                raise _no_dataset(uri, "is a file, not a folder", fix=_unpack(uri))
            raise _no_dataset(uri, "is an empty folder" if path is not None else "holds nothing (does it exist?)")
        if path is not None:
            odd += _no_files(path)
        return cls(uri, store, found, f"{path.name}/" if path is not None and folder != uri else "", odd)

    def notes(self) -> list[str]:
        """What lies there and cannot be read, in sentences."""
        if not self._odd:
            return []
        some = ", ".join(sorted(self._odd)[:3]) + (" …" if len(self._odd) > 3 else "")
        what = "links that lead nowhere, what cannot be read, or names that no annotation could hold"
        return [f"{len(self._odd)} entries are passed over ({what}): {some}"]

    @functools.cached_property
    def tables(self) -> Tables:
        """The parquet and Arrow files."""
        return Tables(self._store.uri)

    def read(self, key: str) -> bytes:
        """The content of one file.

        Raises:
            Reject: a symbolic link leads out of the dataset.
        """
        self._check_inside(key)
        return self._store.read(key)

    def head(self, key: str, length: int = _HEAD) -> bytes:
        """The first bytes of one file, ``length`` at most: enough to tell what it is.

        Raises:
            Reject: a symbolic link leads out of the dataset.
        """
        self._check_inside(key)
        return self._store.read_part(key, 0, length)

    def text_parts(self, key: str, length: int = _PART) -> Iterator[bytes]:
        """The text of one annotation file of any size in UTF-8, about ``length`` bytes at a time.

        Raises:
            Reject: a symbolic link leads out of the dataset, or the file is UTF-16 and broken.
        """
        if is_wide(self.head(key, len(codecs.BOM_UTF32_LE))):
            if self.keys[key] > _LARGEST_WIDE:
                message = f"the file is UTF-16 and has {self.keys[key]:,} bytes: write one of this size in UTF-8"
                raise Reject("annotation-malformed", message)
            yield as_utf8(self.read(key))
            return
        for begin in range(0, self.keys[key], length):
            yield self._store.read_part(key, begin, length)

    def _check_inside(self, key: str) -> None:
        if self._real_root is None:
            return
        folder = key.rpartition("/")[0]
        if folder not in self._inside:  # as many lookups as a path has parts, once a folder
            self._inside[folder] = (self._real_root / folder).resolve().is_relative_to(self._real_root)
        path = self._real_root / key
        if not self._inside[folder] or (path.is_symlink() and not path.resolve().is_relative_to(self._real_root)):
            raise Reject("annotation-outside", "a symbolic link leads out of the dataset")

    def read_many(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes | Reject]]:
        """The texts of many annotation files in the order of ``keys``, in UTF-8, several read at a time."""

        def read(key: str) -> bytes | Reject:
            if self.keys.get(key, 0) > _LARGEST_TEXT:
                return Reject(
                    "annotation-malformed", f"the file has {self.keys[key]:,} bytes, more than any annotation"
                )
            try:
                return as_utf8(self.read(key))
            except Reject as refusal:
                return refusal

        if self._real_root is not None:  # a local disk gains nothing from threads for small files
            yield from ((key, read(key)) for key in keys)
            return
        rest = iter(keys)
        with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
            while chunk := list(islice(rest, _CHUNK)):
                yield from zip(chunk, pool.map(read, chunk), strict=True)

    def image_key(self, name: object, folders: Iterable[str]) -> str:
        """The key of the image that an annotation calls ``name``.

        A path from the root of the file system is followed as far as it leads into the dataset's folder, as trainers
        write it; and no name of a file holds a backslash, so one parts folders as on Windows.

        Args:
            name: as the annotation has it.
            folders: where to look for it, relative to the root; ``""`` is the root.

        Raises:
            Reject: it is no path into the dataset, is a URL, or there is no such file; the message
                suggests the nearest name.
        """
        if not isinstance(name, str) or not name.strip():
            raise Reject("image-not-named", f"the image's name is missing or not a string: {short(name)}")
        if "://" in name or name.startswith("data:"):
            raise Reject("image-url", f"a URL instead of a file: {short(name)}")
        name = name.replace("\\", "/")
        if name.startswith("/"):
            name = self._from_root(name)
        elif _DRIVE.match(name):
            raise Reject("image-outside", f"a path on a drive of Windows: {short(name)}")
        names = [name, name.removeprefix(self._top)] if name.startswith(self._top) else [name]
        places = [f"{folder}/{called}" if folder else called for called in names for folder in folders]
        for place in places:
            cleaned = PurePosixPath(place).as_posix()
            if cleaned in self.keys:
                return cleaned
            if not cleaned.isascii() and (same := self._composed.get(_composed(cleaned))):
                return same
        try:
            check_key(PurePosixPath(name).as_posix(), where="image")
        except SettingsError as error:
            raise Reject("image-outside", f"{short(name)}: {error.problems[0].message}") from error
        nearest = self._nearest(places)
        hint = f"; is {short(nearest)} meant?" if nearest else ""
        raise Reject("image-missing", f"there is no file {short(places[0])}{hint}")

    def _from_root(self, path: str) -> str:
        """An absolute path relative to the dataset's folder; as it is where it does not lead there."""
        roots = {str(root) for root in (local_path(self.uri), self._real_root) if root is not None}
        return next((path[len(root) + 1 :] for root in roots if path.startswith(f"{root}/")), path)

    def _nearest(self, places: list[str]) -> str | None:
        if self._folders is None:
            self._folders = {}
            for key in self.keys:
                folder, _, name = key.rpartition("/")
                self._folders.setdefault(folder, {}).setdefault(_folded(name), name)
        for place in places:
            folder, _, name = place.rpartition("/")
            names = self._folders.get(folder, {})
            if _folded(name) in names:
                return names[_folded(name)]
            if len(names) <= 2000:  # a close match costs a comparison with each
                close = difflib.get_close_matches(_folded(name), names, n=1, cutoff=0.85)
                if close:
                    return names[close[0]]
        return None


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return _composed(unquote(name)).casefold()


def _contents(store: Store) -> tuple[dict[str, int], list[str]]:
    """Size by key of what lies in a store, and the names that no annotation could hold."""
    found: dict[str, int] = {}
    odd: list[str] = []
    for info in store.list():
        if _is_litter(info.key):
            continue
        try:
            check_key(info.key)
            info.key.encode("utf-8")
        except (SettingsError, UnicodeEncodeError):
            odd.append(short(info.key.encode("utf-8", errors="replace").decode()))
        else:
            found[info.key] = info.size
    return found, odd


def _is_litter(key: str) -> bool:
    parts = key.split("/")
    return any(part in LITTER for part in parts) or parts[-1].startswith("._")


def _no_files(root: Path) -> list[str]:
    """What lies below a folder and can be no part of a dataset: pipes, devices, and links that lead nowhere.

    Such links are what git-annex and the like leave for content that was not fetched.
    """
    odd: list[str] = []
    folders = [str(root)]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:  # a folder that may not be looked into
            odd.append(folder)
            continue
        folders += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        odd += [
            entry.path for entry in entries if not entry.is_dir(follow_symlinks=False) and not _leads_somewhere(entry)
        ]
    keys = (Path(path).relative_to(root).as_posix() for path in odd)
    return [short(key.encode("utf-8", errors="replace").decode()) for key in keys]


def _leads_somewhere(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file() or entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _check_folder(path: Path, uri: str) -> None:
    try:
        if path.is_dir():
            next(path.iterdir(), None)
            return
        exists = path.exists()
    except PermissionError as error:
        raise NotPermittedError(
            Problem(WHERE, "the folder cannot be read", value=uri, fix="check its owner and mode")
        ) from error
    except OSError as error:
        raise _no_dataset(uri, f"cannot be opened: {error.strerror}") from error
    if exists:
        raise _no_dataset(uri, "is a file, not a folder", fix=_unpack(uri))
    nearest = difflib.get_close_matches(path.name, _siblings(path), n=1)
    raise _no_dataset(uri, "does not exist", fix=f"is {nearest[0]!r} meant?" if nearest else None)


def _siblings(path: Path) -> list[str]:
    try:
        return [entry.name for entry in islice(path.parent.iterdir(), 1000)]
    except OSError:
        return []


def _is_object(uri: str) -> bool:
    folder, name = split_uri(uri)
    return open_store(folder).stat(name) is not None


def _unpack(uri: str) -> str:
    if urlsplit(uri).path.lower().endswith(_OTHER_ARCHIVES):
        return "unpack the archive and name the folder"
    return "name the folder that holds the dataset"


def _no_dataset(uri: str, what: str, fix: str | None = None) -> DataError:
    return DataError(Problem(WHERE, f"the dataset {what}", value=uri, fix=fix))
