"""Parquet and Arrow files: their rows, and the pictures that lie in their cells.

pyarrow reads both, here and where training runs. The ``datasets`` library is not used: it copies a dataset into a cache
of its own before the first row is seen, reads from no bucket without further packages, and would be one more thing to
install on every machine that trains. What it knows beyond Arrow (which columns are pictures, the names of classes)
it writes into the files' own metadata, and that is read here.

A training run reads pictures in any order, and parquet packs hundreds of them together. So a table is unpacked once,
into an Arrow file in airtune's home that is then mapped into memory: a picture costs one copy of its bytes. A local
Arrow file that is not compressed is mapped as it lies.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import os
import secrets
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airtune.datasets.sources.caching import forget_unused, locked
from airtune.datasets.sources.table_cells import Cell
from airtune.environment import Environment
from airtune.errors import Problem, StoreError
from airtune.stores.base import MissingError, check_key
from airtune.stores.opening import local_path, open_store

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS: Final = 1000
_COPIED_ROWS: Final = 256
_ARROW_FILE: Final = b"ARROW1"
_PARQUET: Final = b"PAR1"


class TableError(Exception):
    """A table that cannot be read.

    Args:
        message: what is wrong with it.
    """


class Table:
    """One table, mapped into memory.

    Attributes:
        schema: its columns.
        features: what the ``datasets`` library knows of each column; empty for a table of another origin.
        rows: how many there are.
        pictures: names of the columns that hold pictures, or lists of them.
    """

    def __init__(self, content: pa.Table) -> None:
        if len(set(content.schema.names)) < content.num_columns:
            raise ValueError("two columns have the same name")
        self._content = content
        self.schema: pa.Schema = content.schema
        self.features = _features(content.schema)
        self.rows: int = content.num_rows
        self.pictures = tuple(
            field.name for field in content.schema if _holds_pictures(field.type) and not self._is_sound(field.name)
        )
        self._ends: list[int] = []
        for chunk in content.column(0).chunks if content.num_columns else ():
            self._ends.append((self._ends[-1] if self._ends else 0) + len(chunk))

    def _is_sound(self, name: str) -> bool:
        return '"Audio"' in json.dumps(self.features.get(name))

    def picture(self, cell: Cell) -> bytes | None:
        """The file that lies in a cell; None where there is none."""
        if cell.column not in self.pictures or cell.row >= self.rows:
            return None
        column = self._content.column(cell.column)
        number = bisect.bisect_right(self._ends, cell.row)
        value = column.chunk(number)[cell.row - (self._ends[number - 1] if number else 0)]
        if _is_list(column.type) != (cell.place is not None):
            return None
        if cell.place is not None:
            if not value.is_valid or cell.place >= len(value):
                return None
            value = value.values[cell.place]
        found = value.as_py()
        content: bytes | None = found["bytes"] if isinstance(found, dict) else found
        return content

    def batches(self, names: Collection[str]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """The rows, some hundred at a time, without the pictures themselves.

        Args:
            names: of the columns that are wanted.

        Yields:
            The number of the first row, and each row by the names of its columns. A cell with a picture holds a
            :class:`Present`, one that names a file instead that name, and an empty one None; likewise in lists.
        """
        start = 0
        for batch in self._content.to_batches(max_chunksize=_ROWS):
            columns = [self._values(batch, name) for name in names]
            yield start, [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
            start += batch.num_rows

    def _values(self, batch: pa.RecordBatch, name: str) -> list[Any]:
        column = batch.column(self.schema.get_field_index(name))
        return _shown(column) if name in self.pictures else column.to_pylist()


class Present:
    """A cell that holds a picture."""


PRESENT: Final = Present()


class Tables:
    """The tables below a folder, each opened once; usable from several threads.

    Args:
        folder: URI of the folder, ``file://`` or ``s3://``.
        cache: where unpacked tables are kept; default ``cache/tables`` in airtune's home.
    """

    def __init__(self, folder: str, cache: Path | None = None) -> None:
        self._folder = folder
        self._cache = cache or Environment.read().home / "cache" / "tables"
        self._opened: dict[str, Table] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self._folder, self._cache))

    def open(self, file: str) -> Table:
        """The table with this key.

        Raises:
            TableError: there is none, or it is damaged.
            StoreError: the store failed, or the disk is full.
        """
        with self._lock:
            if file not in self._opened:
                try:
                    self._opened[file] = Table(self._mapped(file))
                except (ValueError, KeyError, NotImplementedError, MemoryError) as error:
                    raise TableError(_in_words(error)) from error
                except OSError as error:
                    if error.errno is None:
                        raise TableError(_in_words(error)) from error
                    raise StoreError(Problem(f"{self._folder}/{file}", f"cannot be read: {error.strerror}")) from error
            return self._opened[file]

    def _mapped(self, file: str) -> pa.Table:
        store = open_store(self._folder)
        info = store.stat(check_key(file))
        root = local_path(self._folder)
        if info is None:
            raise TableError("there is no such file")
        if root is not None and not (root / file).resolve().is_relative_to(root.resolve()):
            raise TableError("a symbolic link leads out of the dataset")
        if root is not None and not _is_parquet(root / file):
            table = _map(root / file)
            if table is not None:
                return table
        name = hashlib.sha256(f"{self._folder}\n{file}\n{info.version}\n{info.size}".encode()).hexdigest()
        self._cache.mkdir(parents=True, exist_ok=True)
        copy = self._cache / f"{name}.arrow"
        with locked(copy):
            if not copy.exists():
                forget_unused(self._cache)
                part = self._cache / f"{os.getpid()}-{secrets.token_hex(6)}.part"
                fetched = part.with_suffix(".fetched")
                try:
                    if root is None:
                        store.download_file(file, fetched)
                    _unpack(root / file if root is not None else fetched, part)
                    part.replace(copy)
                except MissingError as error:
                    raise TableError("there is no such object") from error
                finally:
                    part.unlink(missing_ok=True)
                    fetched.unlink(missing_ok=True)
            os.utime(copy)
            table = _map(copy)
        if table is None:
            raise TableError("it cannot be mapped into memory")
        return table


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_PARQUET)) == _PARQUET


def _map(path: Path) -> pa.Table | None:
    """An Arrow file, checked and not read; None where it is compressed, so that it would have to be."""
    import pyarrow as pa

    whole = pa.memory_map(str(path)).read_buffer() if path.stat().st_size else pa.py_buffer(b"")
    with _reader(pa.BufferReader(whole)) as reader:
        table = pa.Table.from_batches(_checked(reader), schema=reader.schema)
    inside = range(whole.address, whole.address + whole.size)
    for column in table.columns:
        for chunk in column.chunks:
            if any(part is not None and part.size and part.address not in inside for part in chunk.buffers()):
                return None
    return table


def _reader(stream: Any) -> Any:
    import pyarrow as pa

    start = stream.read(len(_ARROW_FILE))
    stream.seek(0)
    return pa.ipc.open_file(stream) if start == _ARROW_FILE else pa.ipc.open_stream(stream)


def _checked(reader: Any) -> Iterator[pa.RecordBatch]:
    """The batches of an Arrow file, each looked through: wrong lengths and offsets could lead anywhere in memory."""
    if hasattr(reader, "num_record_batches"):
        batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
    else:
        batches = iter(reader)
    for batch in batches:
        batch.validate(full=True)
        yield batch


def _unpack(path: Path, copy: Path) -> None:
    """Write a table as an Arrow file that is not compressed, a few rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    if _is_parquet(path):
        with parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as opened:
            schema = opened.schema_arrow
            with pa.OSFile(str(copy), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
                for batch in opened.iter_batches(batch_size=_COPIED_ROWS, use_threads=False):
                    writer.write_batch(batch.cast(schema) if batch.schema != schema else batch)
        return
    with (
        pa.OSFile(str(path), "rb") as source,
        _reader(source) as reader,
        pa.OSFile(str(copy), "wb") as sink,
        pa.ipc.new_stream(sink, reader.schema) as writer,
    ):
        for batch in _checked(reader):
            writer.write_batch(batch)


def _features(schema: pa.Schema) -> dict[str, Any]:
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _holds_pictures(kind: pa.DataType) -> bool:
    """Whether values of a type are files: bytes, the ``bytes`` and ``path`` of the ``datasets`` library, or lists."""
    import pyarrow.types as types

    if _is_list(kind):
        kind = kind.value_type
    if types.is_struct(kind):
        place = kind.get_field_index("bytes")
        if place < 0 or kind.get_field_index("path") < 0:
            return place >= 0 and _is_bytes(kind.field(place).type)
        return _is_bytes(kind.field(place).type) or bool(types.is_null(kind.field(place).type))
    return _is_bytes(kind)


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return bool(types.is_list(kind) or types.is_large_list(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _shown(cells: pa.Array) -> list[Any]:
    """What :meth:`Table.batches` says of cells with pictures."""
    import pyarrow.compute as compute
    import pyarrow.types as types

    if _is_list(cells.type):
        inner = iter(_shown(cells.flatten()))
        lengths = compute.list_value_length(cells).to_pylist()
        return [None if length is None else [next(inner) for _ in range(length)] for length in lengths]
    if not types.is_struct(cells.type):
        return [PRESENT if there else None for there in cells.is_valid().to_pylist()]
    there = compute.struct_field(cells, "bytes").is_valid().to_pylist()
    named: list[Any] = [None] * len(cells)
    if cells.type.get_field_index("path") >= 0:
        named = compute.struct_field(cells, "path").to_pylist()
    return [PRESENT if present else name for present, name in zip(there, named, strict=True)]


def _in_words(error: BaseException) -> str:
    return f"it is no table that can be read: {(str(error) or type(error).__name__).splitlines()[0][:200]}"
