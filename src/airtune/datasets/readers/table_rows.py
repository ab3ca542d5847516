"""The rows of a Hugging Face dataset's files, whatever the file is, and what its columns hold."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, Final

from airtune.datasets.draft import Reject, short, writable_value
from airtune.datasets.readers.columns import Kind, kind_of_type, kind_of_values
from airtune.datasets.readers.json_lines import json_lines
from airtune.datasets.sources.source import Source
from airtune.datasets.sources.table_cells import TABLES, Cell
from airtune.datasets.sources.tables import PRESENT, Table, TableError, Tables

_LOOKED_AT: Final = 200
_FILE_NAMES: Final = ("file_name", "file_names")


class InTable(str):
    """The key of a picture in a table, where others have the name of a file."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one file.

    Attributes:
        kinds: what each column holds.
        classes: the names of the classes of a column, by number.
        rows: line (or row, counted from 1) and content by column; a :class:`Reject` where it cannot be read.
    """

    kinds: dict[str, Kind]
    classes: dict[str, list[str]]
    rows: Iterator[tuple[int, Any]]


def rows_of(source: Source, tables: Tables, key: str) -> Rows:
    """The rows of one file.

    Raises:
        Reject: it cannot be read at all.
    """
    if key.lower().endswith(TABLES):
        try:
            return _of_table(tables.open(key), key)
        except TableError as error:
            raise Reject("annotation-malformed", str(error)) from error
    [(_, content)] = source.read_many([key])
    if isinstance(content, Reject):
        raise content
    lines = _csv_lines(content) if key.lower().endswith(".csv") else json_lines(content)
    first = list(islice(lines, _LOOKED_AT))
    objects = [value for _, value in first if isinstance(value, Mapping)]
    names = list(dict.fromkeys(str(name) for value in objects for name in value))
    kinds = {name: kind_of_values(value.get(name) for value in objects) for name in names}
    for name in names:
        if name.endswith(_FILE_NAMES):
            kinds[name] = "pictures" if kinds[name] == "texts" else "picture"
    return Rows(kinds, {}, _chained(first, lines))


def _of_table(table: Table, key: str) -> Rows:
    names = table.schema.names
    kinds = {
        field.name: kind_of_type(field.name, field.type, table.features.get(field.name), table.pictures)
        for field in table.schema
    }
    if PurePosixPath(key).name.startswith("metadata."):
        kinds |= {name: "picture" for name in names if name.endswith(_FILE_NAMES) and kinds[name] == "text"}
    classes = {name: found for name in names if (found := class_names(table.features.get(name)))}
    return Rows(kinds, classes, _table_rows(table, key, [name for name in names if kinds[name] != "other"]))


def _table_rows(table: Table, key: str, names: list[str]) -> Iterator[tuple[int, Any]]:
    try:
        for start, rows in table.batches(names):
            for number, row in enumerate(rows, start=start):
                yield number + 1, {name: _with_key(value, key, number, name) for name, value in row.items()}
    except (ValueError, OverflowError, NotImplementedError) as error:
        # A column of a type that Python has no values for: none of the rows can be read.
        words = (str(error) or type(error).__name__).splitlines()[0][:200]
        yield 1, Reject("annotation-malformed", f"its rows cannot be read: {words}")


def _with_key(value: Any, file: str, row: int, column: str) -> Any:
    if value is PRESENT:
        return InTable(Cell(file, row, column).key)
    if isinstance(value, list):
        return [
            InTable(Cell(file, row, column, place).key) if item is PRESENT else item for place, item in enumerate(value)
        ]
    return value


def class_names(feature: Any, depth: int = 6) -> list[str]:
    """The names of the first ``ClassLabel`` in what the ``datasets`` library wrote down about a column."""
    if isinstance(feature, list):
        feature = dict(enumerate(feature))
    if not isinstance(feature, Mapping) or not depth:
        return []
    names = feature.get("names")
    if feature.get("_type") == "ClassLabel" and isinstance(names, list) and all(isinstance(n, str) for n in names):
        return names
    return next((found for inner in feature.values() if (found := class_names(inner, depth - 1))), [])


def _csv_lines(content: bytes) -> Iterator[tuple[int, Any]]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Reject("annotation-malformed", f"not UTF-8: byte {error.start + 1} of the file") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = reader.fieldnames or []
    except csv.Error as error:
        raise Reject("annotation-malformed", f"malformed CSV in its first line: {error}") from error
    if len(set(names)) < len(names):
        raise Reject("annotation-malformed", f"two columns have the same name: {short(names)}")
    return _csv_rows(reader)


def _csv_rows(reader: csv.DictReader[str]) -> Iterator[tuple[int, Any]]:
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield reader.line_num, Reject("annotation-malformed", f"malformed CSV: {error}")
            continue
        if row is None:
            return
        if None in row or None in row.values():
            yield (
                reader.line_num,
                Reject("annotation-malformed", "the line has another number of fields than the first"),
            )
        else:
            yield reader.line_num, writable_value(row)


def _chained(first: list[tuple[int, Any]], rest: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    yield from first
    yield from rest
