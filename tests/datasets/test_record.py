"""One sample, and its table on disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from airtune.datasets.record import Record, read_records, write_records
from airtune.errors import DataError, DefectError

RECORD = Record(
    id="abc",
    split="train",
    task="vqa",
    images=("a/b.png", "c.png"),
    image_digests=("00", "11"),
    video=None,
    prompt="What?\nWhere? ☃",
    target='{"vqa":{"answer":"x"}}',
    truth='{"answer":"x"}',
    group="00",
    width=3,
    height=4,
    digest="ff",
    source_file="training/annotations/b.jsonl",
    source_line=7,
)


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    records = [RECORD, dataclasses.replace(RECORD, id="d", split="validation", video="v.mp4")]
    write_records(tmp_path / "dataset" / "records.parquet", records)
    assert read_records(tmp_path / "dataset" / "records.parquet") == records
    assert read_records(tmp_path / "dataset" / "records.parquet", "validation") == records[1:]


def test_equal_records_are_equal_bytes_and_leave_nothing_beside_them(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        write_records(tmp_path / name, [RECORD] * 50)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_a_folder_named_like_a_partition_adds_no_column(tmp_path: Path) -> None:
    path = tmp_path / "split=validation" / "id=7" / "records.parquet"
    write_records(path, [RECORD])
    assert read_records(path) == [RECORD]


def test_no_records_at_all_are_a_table_too(tmp_path: Path) -> None:
    write_records(tmp_path / "none.parquet", [])
    assert read_records(tmp_path / "none.parquet") == []


@pytest.mark.parametrize("content", [b"", b"PAR1 but nothing else", None], ids=["empty", "broken", "missing"])
def test_a_file_that_is_no_table_of_records_is_bad_data(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "records.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="stage `validate`"):
        read_records(path)


def test_a_table_without_a_column_is_bad_data(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.table({"id": ["a"]}), tmp_path / "records.parquet")
    with pytest.raises(DataError, match="not a table of records"):
        read_records(tmp_path / "records.parquet")


def test_a_split_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DefectError, match="train or validation"):
        read_records(tmp_path / "records.parquet", "test")
