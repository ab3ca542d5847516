"""What can be compared between two datasets: the distributions of a run's records and images, in flat memory.

Numbers are kept as arrays (four bytes a value), categories as counts of at most :data:`MOST_COUNTED` distinct texts.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airtune.datasets.comparison.shift import UNCOUNTED
from airtune.datasets.record_batch import answer_of
from airtune.errors import DataError, Problem
from airtune.runspec.answers import COORDINATE_RANGE
from airtune.runspec.tasks import Task

if TYPE_CHECKING:
    import pyarrow as pa

MOST_COUNTED: Final = 200_000
"""Distinct texts of one property that are counted; beyond it those met once are put together, the newest first."""

_ROWS: Final = 20_000
_COLUMNS: Final = (
    "task",
    "image_digests",
    "video_digest",
    "prompt",
    "truth",
    "width",
    "height",
    "frames",
    "frame_rate",
)
_OF_IMAGES: Final = ("digest", "width", "height", "format", "bytes", "brightness")
_CAPTIONS: Final = frozenset({Task.FREEFORM.value, Task.VIDEO_FREEFORM.value})


@dataclass(frozen=True)
class Property:
    """One thing that has a distribution.

    Attributes:
        name: as in ``validation/drift.json``.
        title: for people.
        unit: of its values; empty for categories and plain numbers.
    """

    name: str
    title: str
    unit: str = ""


PROPERTIES: Final = {
    each.name: each
    for each in (
        Property("answers", "Answers"),
        Property("answer_words", "Words of the answers"),
        Property("phrases", "Phrases, by their boxes"),
        Property("questions", "Questions"),
        Property("answer_characters", "Length of the answers", "characters"),
        Property("prompt_characters", "Length of the questions", "characters"),
        Property("boxes_per_sample", "Boxes in a sample"),
        Property("box_area", "Size of the boxes", "% of the image"),
        Property("box_aspect", "Shape of the boxes", "width / height"),
        Property("box_x", "Centre of the boxes, from the left", "% of the width"),
        Property("box_y", "Centre of the boxes, from the top", "% of the height"),
        Property("image_width", "Width of the images", "pixels"),
        Property("image_height", "Height of the images", "pixels"),
        Property("image_bytes", "Size of the image files", "bytes"),
        Property("image_format", "Format of the images"),
        Property("brightness", "Brightness of the images", "mean luminance, 0 to 255"),
        Property("frames", "Length of the videos", "frames"),
        Property("frame_rate", "Frame rate of the videos", "frames a second"),
    )
}
"""Everything that is looked at, in the order of the report. A dataset has those that its task and its tables allow."""


@dataclass
class Profile:
    """The distributions of one dataset.

    Attributes:
        samples: how many records.
        numbers: by property, its values.
        counts: by property, how often each text occurs.
    """

    samples: int = 0
    numbers: dict[str, array[float]] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, name: str, values: Iterable[float]) -> None:
        """Some more values of a property of numbers."""
        self.numbers.setdefault(name, array("f")).extend(values)

    def count(self, name: str, values: Mapping[str, int]) -> None:
        """How often each text occurs in some more samples."""
        counts = self.counts.setdefault(name, Counter())
        counts.update(values)
        if len(counts) > MOST_COUNTED:
            once = [text for text, number in counts.items() if number == 1 and text != UNCOUNTED]
            spare = once[-max(0, len(counts) - MOST_COUNTED // 2) :]
            for text in spare:
                del counts[text]
            counts[UNCOUNTED] += len(spare)


def profile_of(records: Path, images: Path | None = None) -> Profile:
    """Read the distributions of a validated dataset.

    Args:
        records: its ``dataset/records.parquet``.
        images: its ``dataset/images.parquet``; without it the images' sizes are taken from the records (of each
            sample the first image's), and what only that table knows (brightness, bytes, format) is left out.

    Raises:
        DataError: a table is missing or damaged.
    """
    profile = Profile()
    used: set[bytes] = set()
    table = images if images is not None and images.exists() else None
    for batch in batches(records, _COLUMNS):
        _add_samples(profile, batch)
        _add_shown(profile, batch, used, sizes=table is None)
    if table is not None:
        for batch in batches(table, _OF_IMAGES):
            _add_images(profile, batch, used)
    return profile


def batches(path: Path, columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
    """Some columns of a table, some thousand rows at a time.

    Raises:
        DataError: the file is missing, or is not a table with these columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    wanted = list(columns)
    try:
        with path.open("rb") as file:
            table = parquet.ParquetFile(file)
            missing = [name for name in wanted if name not in table.schema_arrow.names]
            if missing:
                raise pa.ArrowInvalid(f"it lacks the columns {', '.join(missing)}")
            yield from table.iter_batches(_ROWS, columns=wanted)
    except FileNotFoundError as error:
        raise DataError(Problem(str(path), "the table is missing", fix="run the stage `validate` first")) from error
    except (OSError, ValueError) as error:
        raise DataError(
            Problem(str(path), f"not a table of a dataset: {error}", fix="run the stage `validate` again")
        ) from error


def _add_samples(profile: Profile, batch: pa.RecordBatch) -> None:
    import orjson

    profile.samples += batch.num_rows
    prompts = [text for text in _column(batch, "prompt") if text]
    profile.add("prompt_characters", map(len, prompts))
    profile.count("questions", Counter(prompts))
    truths = [orjson.loads(text) for text in _column(batch, "truth")]
    answers = [answer for truth in truths if (answer := answer_of(truth)) is not None]
    profile.add("answer_characters", map(len, answers))
    if set(_column(batch, "task")) & _CAPTIONS:
        profile.count("answer_words", Counter(word for answer in answers for word in _words(answer)))
    else:
        profile.count("answers", Counter(answers))
    for truth, width, height in zip(truths, _column(batch, "width"), _column(batch, "height"), strict=True):
        if "groundings" in truth:
            _add_boxes(profile, truth["groundings"], width / height if height else 1.0)


def _add_boxes(profile: Profile, groundings: Iterable[Mapping[str, Any]], aspect: float) -> None:
    phrases: Counter[str] = Counter()
    for item in groundings:
        phrases[item["phrase"]] += len(item["boxes"])
    boxes = [box for item in groundings for box in item["boxes"]]
    unit = 100 / COORDINATE_RANGE
    profile.add("box_area", [(x2 - x1) * unit * (y2 - y1) / COORDINATE_RANGE for x1, y1, x2, y2 in boxes])
    profile.add("box_aspect", [(x2 - x1) / (y2 - y1) * aspect for x1, y1, x2, y2 in boxes])
    profile.add("box_x", [(x1 + x2) / 2 * unit for x1, _, x2, _ in boxes])
    profile.add("box_y", [(y1 + y2) / 2 * unit for _, y1, _, y2 in boxes])
    profile.add("boxes_per_sample", [len(boxes)])
    profile.count("phrases", phrases)


def _add_shown(profile: Profile, batch: pa.RecordBatch, used: set[bytes], *, sizes: bool) -> None:
    """Images and videos, each once however many samples show it."""
    names = ("image_digests", "video_digest", "width", "height", "frames", "frame_rate")
    for digests, film, width, height, frames, rate in zip(*(_column(batch, name) for name in names), strict=True):
        for index, digest in enumerate(digests if film is None else (film,)):
            key = bytes.fromhex(digest)[:16]
            if key in used:
                continue
            used.add(key)
            if index == 0 and (sizes or film is not None):
                profile.add("image_width", [width])
                profile.add("image_height", [height])
            if film is not None:
                profile.add("frames", [frames])
                profile.add("frame_rate", [rate])


def _add_images(profile: Profile, batch: pa.RecordBatch, used: set[bytes]) -> None:
    """Those that samples show; each once, whatever number of names it has."""
    for row in batch.to_pylist():
        key = bytes.fromhex(row["digest"])[:16]
        if key not in used:
            continue
        used.discard(key)
        profile.add("image_width", [row["width"]])
        profile.add("image_height", [row["height"]])
        profile.add("image_bytes", [row["bytes"]])
        profile.add("brightness", [row["brightness"]])
        profile.count("image_format", {row["format"]: 1})


def _column(batch: pa.RecordBatch, name: str) -> Sequence[Any]:
    found: list[Any] = batch.column(name).to_pylist()
    return found


def _words(text: str) -> list[str]:
    return [word for part in text.split() if (word := part.strip(".,;:!?\"'()[]").casefold())]
