"""What the data looks like: answers, phrases, lengths, pictures and boxes, training beside validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from airtune.datasets.expectations.table import frame_of, record_fields
from airtune.datasets.pictures.inspection import ImageFacts
from airtune.datasets.record import Record
from airtune.datasets.record_batch import Batch, answer_of, thinned
from airtune.datasets.record_table import RecordTable
from airtune.datasets.report.box_maps import BoxList
from airtune.datasets.report.charts import MOST_BARS, Distribution, HeatMap, bars, histogram

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[Any, Any]

MOST_SAMPLES: Final = 200_000
"""Of more samples every second, third … one is counted: the pictures are the same, and take seconds."""

_TEXTS_COUNTED: Final = 2_000
_COLUMNS: Final = (
    "split", "prompt_number", "prompt_words", "answer_number", "answer_words", "width", "height", "boxes",
    "image_format", "brightness",
)  # fmt: skip

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Look:
    """The distributions of a dataset.

    Attributes:
        charts: those that there is something to say about.
        maps: where boxes lie and how large they are; none without boxes.
        counted: in words, which samples were counted.
    """

    charts: tuple[Distribution, ...]
    maps: tuple[HeatMap, ...]
    counted: str


def look(records: RecordTable, images: Mapping[str, ImageFacts], count: Count | None) -> Look:
    """The distributions of a dataset.

    Args:
        records: its samples.
        images: what is known about its images, by digest.
        count: tokens of a text, by the base model's own tokenizer; None counts characters.
    """
    samples = len(records)
    if not samples:
        return Look((), (), "")
    every = -(-samples // MOST_SAMPLES)
    counted = _Counted(records, images, every)
    charts = [
        counted.most_frequent("Answers", "answer_number", _answer),
        counted.phrases(),
        counted.most_frequent("Texts of the user", "prompt_number", lambda record: record.prompt),
        *_lengths(records, samples, count),
        counted.histogram("Words in an answer", "answer_words"),
        counted.histogram("Words in a text of the user", "prompt_words"),
        *counted.of_boxes(),
        counted.histogram("Width of the first picture, pixels", "width"),
        counted.histogram("Height of the first picture, pixels", "height"),
        counted.histogram("Brightness of the first picture, 0 black to 255", "brightness"),
        counted.most_frequent("Format of the first picture", "image_format"),
    ]
    words = "every sample" if every == 1 else f"one sample of every {every}, {counted.samples:,} in all"
    return Look(tuple(chart for chart in charts if chart.bars), counted.boxes.maps(), f"Counted: {words}.")


class _Counted:
    """The samples that are counted, as columns."""

    def __init__(self, records: RecordTable, images: Mapping[str, ImageFacts], every: int) -> None:
        self._records = records
        self._every = every
        self._frame = frame_of(thinned(records.batches(record_fields(_COLUMNS)), every), _COLUMNS, images)
        self._validates: Numbers = (self._frame["split"] == "validation").to_numpy(bool)
        self.boxes = BoxList.of(thinned(records.batches(["truth"]), every))

    @property
    def samples(self) -> int:
        """How many are counted."""
        return len(self._frame)

    def histogram(self, title: str, column: str) -> Distribution:
        """A column of numbers."""
        return histogram(title, self._frame[column].to_numpy(float, na_value=float("nan")), self._validates)

    def most_frequent(self, title: str, column: str, name: Callable[[Record], str] | None = None) -> Distribution:
        """The most frequent values of a column, each a bar.

        Args:
            title: what they are.
            column: texts, or the numbers that stand for them.
            name: the text, from a record in which the value occurs; None where the column has the texts.
        """
        present = self._frame[column].notna().to_numpy(bool)
        values = self._frame[column].to_numpy()[present]
        rows = present.nonzero()[0]
        return self._ranked(
            title, values, rows, lambda first: name(self._record(rows[first])) if name else values[first]
        )

    def phrases(self) -> Distribution:
        """The most frequent phrases."""
        boxes = self.boxes

        def name(first: int) -> str:
            groundings = orjson.loads(self._record(boxes.phrase_rows[first]).truth)["groundings"]
            return str(groundings[boxes.phrase_places[first]]["phrase"])

        return self._ranked("Phrases", boxes.phrases, boxes.phrase_rows, name)

    def of_boxes(self) -> Iterator[Distribution]:
        """How many boxes there are, and how large."""
        if not len(self.boxes.boxes):
            return
        yield self.histogram("Boxes in a sample", "boxes")
        validates = self._validates[self.boxes.rows]
        yield histogram("Box size, % of the picture", self.boxes.areas * 100, validates)

    def _ranked(self, title: str, values: Numbers, rows: Numbers, name: Callable[[int], str]) -> Distribution:
        """Values with the row of each: the most frequent ones; ``name`` is given the place where one is first."""
        import numpy as np

        if not len(values):
            return Distribution(title, ())
        _, first, codes = np.unique(values, return_index=True, return_inverse=True)
        validates = self._validates[rows]
        train, validation = (np.bincount(codes[side], minlength=len(first)) for side in (~validates, validates))
        total = train + validation
        order = np.lexsort((first, -total))
        shown = [(name(int(first[code])), int(train[code]), int(validation[code])) for code in order[:MOST_BARS]]
        rest = order[MOST_BARS:]
        more = f"{len(rest):,} more, {int(total[rest].sum()):,} times in all" if len(rest) else ""
        return Distribution(title, bars(shown), more)

    def _record(self, row: int) -> Record:
        return self._records.rows([int(row) * self._every])[0]


def _answer(record: Record) -> str:
    return answer_of(orjson.loads(record.truth)) or ""


def _lengths(records: RecordTable, samples: int, count: Count | None) -> Iterator[Distribution]:
    """Lengths of questions and targets, of some samples spread over all of them."""
    import numpy as np

    unit, length = ("tokens", count) if count is not None else ("characters", len)
    every = -(-samples // _TEXTS_COUNTED)
    found: list[tuple[int, int]] = []
    sides = []
    for batch in map(Batch, thinned(records.batches(["split", "prompt", "target"]), every)):
        texts = zip(batch["prompt"].to_pylist(), batch["target"].to_pylist(), strict=True)
        found += [(length(prompt), length(target)) for prompt, target in texts]
        sides.append(batch.validates)
    lengths, validates = np.array(found, dtype=float), np.concatenate(sides)
    some = "" if every == 1 else f", of {len(found):,} samples"
    yield histogram(f"Length of the user's text in {unit}{some}", lengths[:, 0], validates)
    yield histogram(f"Length of the trained answer in {unit}{some}", lengths[:, 1], validates)
