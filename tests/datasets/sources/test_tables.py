"""Pictures in the cells of parquet and Arrow files: keys of their own, read in any order, whatever the file holds."""

from __future__ import annotations

import hashlib
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airtune.datasets.pictures.decoding import UnusableImageError
from airtune.datasets.pictures.images import Images
from airtune.datasets.sources.table_cells import Cell, cell_of
from airtune.datasets.sources.tables import PRESENT, TableError, Tables
from airtune.errors import AirtuneError

ROWS = 700
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def content(row: int) -> bytes:
    return hashlib.sha256(str(row).encode()).digest() * (row % 5 + 1)


def table() -> pa.Table:
    rows = range(ROWS)
    cells = [{"bytes": None if row % 7 == 3 else content(row), "path": f"{row}.png"} for row in rows]
    return pa.table(
        {
            "image": pa.array(
                [None if row % 11 == 5 else cell for row, cell in zip(rows, cells, strict=True)], PICTURE
            ),
            "more": pa.array([None if row == 1 else [content(row)] * (row % 3) for row in rows], pa.list_(pa.binary())),
            "raw": pa.array([content(row) for row in rows], pa.large_binary()),
            "text": [str(row) for row in rows],
        }
    )


def as_parquet(path: Path) -> None:
    parquet.write_table(table(), path, row_group_size=100)


def as_stream(path: Path, **options: Any) -> None:
    with pa.OSFile(str(path), "wb") as sink:
        written = pa.ipc.new_stream(sink, table().schema, options=pa.ipc.IpcWriteOptions(**options))
        written.write_table(table(), max_chunksize=90)
        written.close()


def as_file(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table().schema) as written:
        written.write_table(table(), max_chunksize=90)


def compressed(path: Path) -> None:
    as_stream(path, compression="zstd")


WRITERS = {"a.parquet": as_parquet, "a.arrow": as_stream, "f.arrow": as_file, "z.arrow": compressed}


@pytest.fixture(params=WRITERS)
def written(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    name = request.param
    (tmp_path / "data").mkdir()
    WRITERS[name](tmp_path / "data" / name)
    return Path(tmp_path / "data" / name)


def test_every_cell_is_read_by_its_row_its_column_and_its_place(written: Path) -> None:
    found = Tables(written.parent.as_uri()).open(written.name)
    assert found.pictures == ("image", "more", "raw")
    assert found.rows == ROWS
    for row in (0, 89, 90, 99, 100, 256, 450, ROWS - 1):
        nothing = row % 7 == 3 or row % 11 == 5
        assert found.picture(Cell("", row, "image")) == (None if nothing else content(row))
        assert found.picture(Cell("", row, "raw")) == content(row)
        for place in range(3):
            assert found.picture(Cell("", row, "more", place)) == (content(row) if place < row % 3 else None)
    assert found.picture(Cell("", ROWS, "raw")) is None
    assert found.picture(Cell("", 1, "more", 0)) is None
    assert found.picture(Cell("", 0, "text")) is None


def test_rows_say_where_a_picture_is_and_do_not_hold_it(written: Path) -> None:
    rows = []
    for start, some in Tables(written.parent.as_uri()).open(written.name).batches(["text", "image", "more"]):
        assert start == len(rows)
        rows += some
    assert [row["text"] for row in rows] == [str(row) for row in range(ROWS)]
    assert [rows[row]["image"] for row in (0, 3, 5)] == [PRESENT, "3.png", None]
    assert [rows[row]["more"] for row in (0, 1, 2)] == [[], None, [PRESENT, PRESENT]]


def test_a_table_is_unpacked_once_and_not_at_all_where_it_can_be_mapped(written: Path, tmp_path: Path) -> None:
    for _ in range(2):
        Tables(written.parent.as_uri()).open(written.name)
    copies = list((tmp_path / "home/cache/tables").glob("*.arrow"))
    assert len(copies) == (written.name in ("a.parquet", "z.arrow"))
    if copies:
        before = copies[0].stat().st_ino
        assert pickle.loads(pickle.dumps(Tables(written.parent.as_uri()))).open(written.name).rows == ROWS
        assert copies[0].stat().st_ino == before


def test_images_reads_cells_as_it_reads_files(written: Path) -> None:
    images = Images(written.parent.as_uri())
    key = Cell(written.name, 100, "raw").key
    digest = hashlib.sha256(content(100)).hexdigest()
    assert images.read(key, digest) == content(100)
    assert images.path(key, digest).read_bytes() == content(100)
    assert pickle.loads(pickle.dumps(images)).read(key) == content(100)
    for wrong, reason in (
        (Cell(written.name, 101, "raw").key, "image-changed"),
        (Cell(written.name, ROWS, "raw").key, "image-missing"),
        (Cell("gone.parquet", 0, "raw").key, "image-missing"),
        (Cell("../data/a.parquet", 0, "raw").key, "image-outside"),
    ):
        with pytest.raises(UnusableImageError) as caught:
            images.read(wrong, digest)
        assert caught.value.reason == reason


def test_what_changes_a_table_changes_the_version_of_its_cells(tmp_path: Path) -> None:
    as_stream(tmp_path / "a.arrow")
    first, second = Cell("a.arrow", 100, "raw").key, Cell("a.arrow", 101, "raw").key
    images = Images(tmp_path.as_uri(), tmp_path / "cache")
    time.sleep(2.1)  # a file that was changed just now has no version
    before = images.versions([first, second, "gone.arrow#000001/raw"])
    assert set(before) == {first, second}
    (tmp_path / "a.arrow").write_bytes((tmp_path / "a.arrow").read_bytes())
    time.sleep(2.1)
    assert images.versions([first])[first] != before[first]


def test_keys_name_cells_and_nothing_else() -> None:
    for cell in (Cell("a/b.parquet", 3, "image"), Cell("x.arrow", 1_234_567, "images", 2)):
        assert cell_of(cell.key) == cell
    keys = [Cell("a.parquet", row, "image").key for row in (9, 10, 100)]
    assert keys == sorted(keys)
    for key in ("a.png", "a#1.png", "a.parquet#1/x", "a.parquet#000001", "a.parquet", "b.csv#000001/x"):
        assert cell_of(key) is None


def test_a_link_out_of_the_dataset_is_not_followed(tmp_path: Path) -> None:
    as_parquet(tmp_path / "secret.parquet")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.parquet").symlink_to(tmp_path / "secret.parquet")
    with pytest.raises(TableError, match="leads out"):
        Tables((tmp_path / "data").as_uri(), tmp_path / "cache").open("a.parquet")


SMALL: dict[str, bytes] = {}


def small(name: str) -> bytes:
    if not SMALL:
        rows = table().slice(0, 12)
        for key, options in (("a.arrow", {}), ("z.arrow", {"compression": "lz4"})):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
                writer.write_table(rows)
            SMALL[key] = sink.getvalue().to_pybytes()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
        SMALL["f.arrow"] = sink.getvalue().to_pybytes()
        sink = pa.BufferOutputStream()
        parquet.write_table(rows, sink)
        SMALL["a.parquet"] = sink.getvalue().to_pybytes()
    return SMALL[name]


@st.composite
def broken(draw: Callable[..., Any], name: str) -> bytes:
    data = bytearray(draw(st.just(small(name)) | st.binary(max_size=80)))
    for _ in range(draw(st.integers(0, 5)) if data else 0):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.none() | st.integers(0, len(data)))])


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "f.arrow", "z.arrow"])
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_no_table_however_broken_gives_a_traceback(tmp_path: Path, name: str, data: Any) -> None:
    (tmp_path / name).write_bytes(data.draw(broken(name)))
    try:
        found = Tables(tmp_path.as_uri(), tmp_path / "cache").open(name)
    except (TableError, AirtuneError) as error:
        assert str(error)  # noqa: PT017 - what matters is which errors there are
        return
    for column in found.pictures:
        found.picture(Cell(name, 0, column))
        found.picture(Cell(name, 0, column, 0))
    for _, rows in found.batches(found.pictures):
        assert len(rows) <= found.rows
