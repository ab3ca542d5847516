"""Samples that stand in a dataset twice, and questions that are asked twice with different answers."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airtune.datasets.record_batch import Batch, text_numbers
from airtune.datasets.record_table import RecordTable
from airtune.runspec.tasks import Task

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS: Final = ("image_digests", "video_digest", "prompt", "truth", "digest")
"""What of a record tells whether it repeats another one."""

_EXAMPLES: Final = 3
_BITS: Final = (1 << 64) - 1
_ODD: Final = 0x9E3779B97F4A7C15
"""Makes the sum of two numbers depend on which is which."""
_ASKS: Final = frozenset({Task.VQA, Task.GENERIC})
"""Tasks with one right answer to a question; a picture may well have several captions."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """What was found of one kind.

    Attributes:
        count: how many samples it concerns.
        examples: the first few, each as the numbers of its samples in the order in which they were added.
    """

    count: int
    examples: tuple[tuple[int, ...], ...]


class Repeats:
    """Looks at samples and keeps three numbers of each, 24 bytes, whatever their texts are.

    The numbers are hashes of 64 bits: that two of a million different samples are taken for the same
    happens once in thirty million datasets.
    """

    def __init__(self) -> None:
        self._questions = array("Q")
        self._answers = array("Q")
        self._samples = array("Q")

    def add(self, records: pa.RecordBatch) -> None:
        """Some thousand samples, with the columns :data:`COLUMNS`."""
        import numpy as np

        batch = Batch(records)
        digests, counts = batch.shown
        numbers = text_numbers(digests).view(np.uint64)
        ends = np.cumsum(counts)
        shown = np.zeros(len(batch), np.uint64)
        one = counts == 1
        shown[one] = numbers[ends[one] - 1]
        for row in np.flatnonzero(counts > 1):
            shown[row] = hash(tuple(numbers[ends[row] - counts[row] : ends[row]].tolist())) & _BITS
        questions = shown * np.uint64(_ODD) + text_numbers(batch["prompt"]).view(np.uint64)
        for found, column in (
            (self._questions, questions),
            (self._answers, text_numbers(batch["truth"])),
            (self._samples, text_numbers(batch["digest"])),
        ):
            found.frombytes(column.tobytes())

    def same_samples(self) -> Repeated:
        """Samples that stand there once more, with the same images, question and answer."""
        return _repeated(self._samples)

    def contradictions(self) -> Repeated:
        """Samples whose question is asked elsewhere of the same images and answered otherwise."""
        return _repeated(self._questions, self._answers)


def repeat_warnings(records: RecordTable, task: Task) -> list[str]:
    """What stands there twice, in sentences with places; none where nothing does."""
    repeats = Repeats()
    for batch in records.batches(COLUMNS):
        repeats.add(batch)

    def places(found: Repeated) -> str:
        named = [records.rows(rows) for rows in found.examples]
        return "; ".join(", ".join(f"{each.source_file}:{each.source_line}" for each in rows) for rows in named)

    warnings = []
    same = repeats.same_samples()
    if same.count:
        warnings.append(
            f"{same.count} samples stand there once more (same images, question and answer) and are trained as often: "
            f"{places(same)}"
        )
    contradictions = repeats.contradictions() if task in _ASKS else Repeated(0, ())
    if contradictions.count:
        warnings.append(
            f"{contradictions.count} samples ask the same of the same images as another, and are answered otherwise: "
            f"{places(contradictions)}"
        )
    return warnings


def _repeated(keys: array[int], values: array[int] | None = None) -> Repeated:
    """Rows that share a key: all but the first of each; with values, all rows of keys with more than one value."""
    import numpy as np

    if not keys:
        return Repeated(0, ())
    order = np.argsort(np.frombuffer(keys, dtype=np.uint64), kind="stable")
    key = np.frombuffer(keys, dtype=np.uint64)[order]
    starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    lengths = np.diff(np.r_[starts, len(key)])
    if values is None:
        chosen = np.flatnonzero(lengths > 1)
        count = int(lengths[chosen].sum()) - len(chosen)
    else:
        value = np.frombuffer(values, dtype=np.uint64)[order]
        differs = np.r_[(value[1:] != value[:-1]) & (key[1:] == key[:-1]), False]
        chosen = np.flatnonzero(np.logical_or.reduceat(differs, starts))
        count = int(lengths[chosen].sum())
    groups = [order[starts[index] : starts[index] + lengths[index]].tolist() for index in chosen]
    groups.sort(key=lambda rows: rows[0])
    return Repeated(count, tuple(_apart(rows, values)[:_EXAMPLES] for rows in groups[:_EXAMPLES]))


def _apart(rows: list[int], values: array[int] | None) -> tuple[int, ...]:
    """Of rows with one key, the first of each value."""
    if values is None:
        return tuple(rows)
    firsts: dict[int, int] = {}
    for row in rows:
        firsts.setdefault(values[row], row)
    return tuple(firsts.values())
