"""The files of a dataset together with the pictures in its tables: both have keys, and are read alike."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

from airtune.datasets.pictures.decoding import LARGEST_FILE
from airtune.datasets.pictures.image_cache import ImageCache
from airtune.datasets.pictures.image_files import ImageFiles
from airtune.datasets.sources.table_cells import Cell, cell_of
from airtune.datasets.sources.tables import TableError, Tables


class FilesAndCells(ImageFiles):
    """Files below a root, and the pictures in tables among them (see :mod:`airtune.datasets.sources.table_cells`).

    Args:
        files: the files.
        tables: the tables among them.
        cache: for pictures that are wanted as files of their own.
    """

    def __init__(self, files: ImageFiles, tables: Tables, cache: ImageCache) -> None:
        super().__init__(files.uri)
        self.readers = files.readers
        self.remote = files.remote
        self._files = files
        self._tables = tables
        self._cache = cache

    def read(self, key: str, digest: str | None) -> bytes:
        """See :class:`ImageFiles`."""
        cell = cell_of(key)
        if cell is None:
            return self._files.read(key, digest)
        content = self._content(key, cell)
        if digest is not None and hashlib.sha256(content).hexdigest() != digest:
            raise self.changed(key)
        return content

    def head(self, key: str, length: int) -> bytes:
        """See :class:`ImageFiles`."""
        cell = cell_of(key)
        return self._files.head(key, length) if cell is None else self._content(key, cell)[:length]

    def path(self, key: str, digest: str | None) -> Path:
        """See :class:`ImageFiles`; of a cell a copy in the cache."""
        if cell_of(key) is None:
            return self._files.path(key, digest)
        content = self.read(key, digest)

        def write(place: Path) -> None:
            place.write_bytes(content)

        return self._cache.fill(write, hashlib.sha256(content).hexdigest())

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """See :class:`ImageFiles`; a cell's is that of its table."""
        files = {key: cell.file if (cell := cell_of(key)) is not None else key for key in keys}
        versions = self._files.versions(list(dict.fromkeys(files.values())))
        return {key: versions[file] for key, file in files.items() if file in versions}

    def bytes_to_fetch(self, key: str) -> int:
        """See :class:`ImageFiles`."""
        return 0 if cell_of(key) is not None else self._files.bytes_to_fetch(key)

    def listed(self) -> Collection[str] | None:
        """See :class:`ImageFiles`; a cell is there as long as its table is."""
        files = self._files.listed()
        return None if files is None else _Listed(files)

    def _content(self, key: str, cell: Cell) -> bytes:
        self.check_key(key)
        try:
            content = self._tables.open(cell.file).picture(cell)
        except TableError as error:
            raise self.unusable("image-missing", key, f"the table cannot be read: {error}") from error
        if content is None:
            raise self.unusable("image-missing", key, "there is no picture in this cell")
        if len(content) > LARGEST_FILE:
            raise self.too_large(key)
        return content


class _Listed(frozenset[str]):
    """Keys of files, which count for the cells of these files too."""

    def __contains__(self, key: object) -> bool:
        cell = cell_of(key) if isinstance(key, str) else None
        return super().__contains__(key if cell is None else cell.file)
