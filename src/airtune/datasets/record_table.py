"""``dataset/records.parquet`` as a table that is never in memory as a whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airtune.datasets.record import COLUMNS, Record, check_split, column_type, record_of
from airtune.errors import DataError, Problem

if TYPE_CHECKING:
    from types import TracebackType

    import pyarrow as pa

ROWS_IN_GROUP: Final = 16_384
"""Rows that are written, and read, at a time: some tens of megabytes at most."""


class RecordTable:
    """The records of a dataset, on disk; cheap to make, can be pickled.

    Args:
        path: the parquet file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        """How many records there are.

        Raises:
            DataError: the file is missing or is not a table of records.
        """
        with self._file() as file:
            return int(file.metadata.num_rows)

    def columns(self, *names: str, split: str | None = None) -> pa.Table:
        """Some columns as a whole: for narrow ones (numbers, digests), not for texts.

        Args:
            names: which, see :class:`airtune.datasets.record.Record`.
            split: of one split alone.

        Raises:
            DataError: the file is missing or is not a table of records.
            DefectError: ``split`` is not the name of a split.
        """
        import pyarrow as pa

        schema = pa.schema([(name, column_type(name)) for name in names])
        return pa.Table.from_batches(self.batches(names, split), schema)

    def batches(self, columns: Sequence[str], split: str | None = None) -> Iterator[pa.RecordBatch]:
        """Some columns, some thousand rows at a time, in the order of the table.

        Args:
            columns: which, see :class:`airtune.datasets.record.Record`.
            split: of one split alone.

        Raises:
            DataError: the file is missing or is not a table of records.
            DefectError: ``split`` is not the name of a split.
        """
        import pyarrow.compute as pc

        check_split(split)
        wanted = list(columns)
        read = wanted if split is None or "split" in wanted else [*wanted, "split"]
        with self._file() as file:
            for batch in file.iter_batches(batch_size=ROWS_IN_GROUP, columns=read):
                if split is not None:
                    batch = batch.filter(pc.equal(batch["split"], split))
                if batch.num_rows:
                    yield batch.select(wanted)

    def records(self, split: str | None = None) -> Iterator[Record]:
        """The records one after the other.

        Raises:
            DataError: the file is missing or is not a table of records.
            DefectError: ``split`` is not the name of a split.
        """
        for batch in self.batches(COLUMNS, split):
            yield from map(record_of, batch.to_pylist())

    def rows(self, indices: Iterable[int]) -> list[Record]:
        """The records at these places (counted from 0), in the order asked for; only their row groups are read.

        Raises:
            DataError: the file is missing or is not a table of records.
            IndexError: there is no such place.
        """
        wanted = list(indices)
        found: dict[int, Record] = {}
        with self._file() as file:
            begin = 0
            for group in range(file.num_row_groups):
                end = begin + file.metadata.row_group(group).num_rows
                here = sorted({index for index in wanted if begin <= index < end})
                if here:
                    rows = file.read_row_group(group, columns=list(COLUMNS)).take([index - begin for index in here])
                    found.update(zip(here, map(record_of, rows.to_pylist()), strict=True))
                begin = end
        missing = [index for index in wanted if index not in found]
        if missing:
            raise IndexError(f"rows {missing[:5]} of {begin}")
        return [found[index] for index in wanted]

    @contextmanager
    def _file(self) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        try:
            with self.path.open("rb") as stream, parquet.ParquetFile(stream) as file:
                missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
                if missing:
                    raise pa.ArrowInvalid(f"the columns {missing} are missing")
                yield file
        except FileNotFoundError as error:
            raise DataError(
                Problem(str(self.path), "the records are missing", fix="run the stage `validate` first")
            ) from error
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                Problem(str(self.path), f"not a table of records: {error}", fix="run the stage `validate` again")
            ) from error


class RecordWriter:
    """Writes the table piece by piece; a context manager. Equal records give equal bytes, however they come in pieces.

    The file appears when the context ends without an error, complete; otherwise not at all.

    Args:
        path: where; folders are made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def __enter__(self) -> RecordWriter:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._schema = pa.schema([(name, column_type(name)) for name in COLUMNS])
        self._writer = parquet.ParquetWriter(self._temporary, self._schema, compression="zstd")
        return self

    def write(self, table: pa.Table) -> None:
        """Append rows, which have the columns of :data:`airtune.datasets.record.COLUMNS`."""
        import pyarrow as pa

        self._waiting.append(table.select(list(COLUMNS)).cast(self._schema))
        self._rows += table.num_rows
        if self._rows < ROWS_IN_GROUP:
            return
        whole = pa.concat_tables(self._waiting)
        full = self._rows - self._rows % ROWS_IN_GROUP
        self._writer.write_table(whole.slice(0, full), row_group_size=ROWS_IN_GROUP)
        self._waiting, self._rows = [whole.slice(full)], self._rows - full

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import pyarrow as pa

        try:
            if kind is None and self._rows:
                self._writer.write_table(pa.concat_tables(self._waiting).combine_chunks())
            self._writer.close()
            if kind is None:
                self._temporary.replace(self._path)
        finally:
            self._temporary.unlink(missing_ok=True)
