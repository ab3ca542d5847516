"""``dataset/images.parquet``: one row an image, the same bytes every time."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow.parquet as parquet
from tests.datasets.conftest import ViFolder

from airtune.datasets.pictures.image_table import COLUMNS, write_images
from airtune.datasets.pictures.images import Images
from airtune.datasets.pictures.inspection import inspect


def test_every_image_that_can_be_used_has_a_row(folder: ViFolder, tmp_path: Path) -> None:
    paths = [folder.image("dump", f"{index}.png") for index in range(5)]
    paths[3].write_bytes(b"broken")
    keys = [path.relative_to(folder.root).as_posix() for path in paths]
    for name in ("first", "second"):
        write_images(tmp_path / name, inspect(Images(folder.root.as_uri()), reversed(keys)))
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    rows = parquet.read_table(tmp_path / "first").to_pylist()
    assert tuple(rows[0]) == COLUMNS
    assert [row["key"] for row in rows] == [key for index, key in enumerate(keys) if index != 3]
    content = paths[0].read_bytes()
    assert rows[0] == {
        "key": "dump/images/0.png",
        "digest": hashlib.sha256(content).hexdigest(),
        "width": 64,
        "height": 48,
        "format": "PNG",
        "bytes": len(content),
        "phash": "",
        "colours": "01004d" * 16,
        "brightness": 9.0,
        "changes": [],
    }
