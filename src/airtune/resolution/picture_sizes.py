"""How large each picture of a run's dataset is: a sample's record knows that of its first one only."""

from __future__ import annotations

from collections.abc import Mapping

from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

Sizes = Mapping[str, tuple[int, int]]
"""Width and height in pixels, as the picture is seen, by the sha256 (hex) of its file."""


def picture_sizes(run: RunDirectory) -> Sizes:
    """Of every usable picture; empty where the run has no table of them (``dataset/images.parquet``)."""
    if not run.exists(layout.IMAGES):
        return {}
    import pyarrow.parquet as parquet

    run.fetch(layout.IMAGES)
    with run.path(layout.IMAGES).open("rb") as file:
        table = parquet.read_table(file, columns=["digest", "width", "height"])
    columns = (table.column(name).to_pylist() for name in ("digest", "width", "height"))
    return {digest: (width, height) for digest, width, height in zip(*columns, strict=True)}
