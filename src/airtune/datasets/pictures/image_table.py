"""Every usable image of a dataset in numbers: ``dataset/images.parquet``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from airtune.datasets.pictures.image_facts import ImageFacts, Inspected

COLUMNS: Final = (
    "key", "digest", "width", "height", "format", "bytes", "phash", "colours", "brightness", "changes",
)  # fmt: skip
"""Of the table; but for ``key`` (relative to the dataset's root) they are those of
:class:`airtune.datasets.pictures.inspection.ImageFacts`."""


def write_images(path: Path, inspected: Inspected) -> None:
    """Write one row an image, in the order of their keys; equal images give equal bytes.

    The file appears complete or not at all. Images that cannot be used, and videos, have no row.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    images = [(key, facts) for key, facts in sorted(inspected.items()) if isinstance(facts, ImageFacts)]
    types = {
        **dict.fromkeys(COLUMNS, pa.string()),
        **dict.fromkeys(("width", "height", "bytes"), pa.int64()),
        "brightness": pa.float64(),
        "changes": pa.list_(pa.string()),
    }
    columns = {
        name: pa.array([key if name == "key" else getattr(facts, name) for key, facts in images], type=types[name])
        for name in COLUMNS
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        parquet.write_table(pa.table(columns), temporary, compression="zstd")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
