"""The one type that all formats become: a sample, and its table on disk (``dataset/records.parquet``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, cast

from airtune.errors import DataError, DefectError, Problem

Split = Literal["train", "validation"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One sample: what the model is shown, and what it is to answer.

    Attributes:
        id: name of the sample, made from its content: the same sample has the same id in every run.
        split: ``train`` or ``validation``.
        task: value of :class:`airtune.runspec.tasks.Task`.
        images: keys of its images, relative to the dataset's root, in the order the model sees them; none for a
            sample of text alone.
        image_digests: sha256 (hex) of each image file as it was when it was validated.
        video: key of its video, or None; a sample with a video has no images.
        video_digest: sha256 (hex) of the video's file as it was when it was validated, or None.
        frames: how many the video has; 0 without one.
        frame_rate: frames a second of the video; 0 without one.
        prompt: the user's text.
        target: the assistant's text, exactly as it is trained.
        truth: the same answer as JSON text, for scoring: ``{"answer": s}`` | ``{"sentence": s, "groundings":
            [{"phrase": s, "boxes": [[x1, y1, x2, y2], ...]}]}`` with integers in 0..1024 | ``{"caption": s}`` |
            ``{"text": s}``.
        group: samples of one group share an image and are never on both sides of a split.
        width: of the first image (or of the video) as it is seen, turned upright, in pixels; 0 without either.
        height: likewise.
        digest: sha256 (hex) of the sample's content: task, images, prompt and truth, but neither names nor split.
        source_file: key of the file it was read from, relative to the dataset's root.
        source_line: line in that file, counted from 1.
        escaped: control tokens that were escaped in prompt and target, see
            :mod:`airtune.datasets.annotations.control_tokens`.
        repeated_boxes: boxes that stood under their phrase twice and are in the target once.
        replaced: characters of the target that had to be replaced, because the platform's decoder cannot write them.
    """

    id: str
    split: Split
    task: str
    images: tuple[str, ...]
    image_digests: tuple[str, ...]
    video: str | None
    prompt: str
    target: str
    truth: str
    group: str
    width: int
    height: int
    digest: str
    source_file: str
    source_line: int
    video_digest: str | None = None
    frames: int = 0
    frame_rate: float = 0.0
    escaped: int = 0
    repeated_boxes: int = 0
    replaced: int = 0

    @property
    def shown(self) -> tuple[str, ...]:
        """What the model sees, by the digests of its files: the images in their order, or the video."""
        return self.image_digests if self.video_digest is None else (self.video_digest,)


COLUMNS: Final = tuple(field.name for field in dataclasses.fields(Record))
"""The columns of the table, in their order."""

_LISTS: Final = ("images", "image_digests")
_NUMBERS: Final = ("width", "height", "source_line", "frames", "escaped", "repeated_boxes", "replaced")


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write the records as one parquet file; equal records give equal bytes.

    The file appears complete or not at all: it is written beside its place and then renamed. Only one row group is
    in memory at a time.
    """
    import pyarrow as pa

    from airtune.datasets.record_table import ROWS_IN_GROUP, RecordWriter

    rows = iter(records)
    with RecordWriter(path) as writer:
        while batch := list(islice(rows, ROWS_IN_GROUP)):
            columns = [[getattr(row, name) for row in batch] for name in COLUMNS]
            writer.write(
                pa.table(
                    [pa.array(values, column_type(name)) for name, values in zip(COLUMNS, columns, strict=True)],
                    COLUMNS,
                )
            )


def read_records(path: Path, split: str | None = None) -> list[Record]:
    """The records of the file, or those of one split, in the order in which they were written.

    Raises:
        DataError: the file is missing or is not a table of records.
        DefectError: ``split`` is not the name of a split.
    """
    from airtune.datasets.record_table import RecordTable

    return list(RecordTable(path).records(split))


def check_split(split: str | None) -> None:
    """Refuse a name that is not that of a split.

    Raises:
        DefectError: ``split`` is not the name of a split.
    """
    if split is not None and split not in SPLITS:
        raise DefectError(Problem("split", "no such split", value=repr(split), allowed=" or ".join(SPLITS)))


def record_of(row: dict[str, Any]) -> Record:
    """The record of one row of the table.

    Raises:
        DataError: a column is missing.
    """
    missing = [name for name in COLUMNS if name not in row]
    if missing:
        raise DataError(
            Problem(
                "records",
                f"not a table of records: columns {missing} are missing",
                fix="run the stage `validate` again",
            )
        )
    return Record(**{**row, **{name: tuple(cast("list[str]", row[name])) for name in _LISTS}})


def column_type(name: str) -> Any:
    """The arrow type of a column."""
    import pyarrow as pa

    if name in _LISTS:
        return pa.list_(pa.string())
    if name == "frame_rate":
        return pa.float64()
    return pa.int64() if name in _NUMBERS else pa.string()
