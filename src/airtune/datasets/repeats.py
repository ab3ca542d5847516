"""Samples that stand in a dataset twice, and questions that are asked twice with different answers."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from airtune.datasets.record_table import RecordTable
from airtune.runspec.tasks import Task

_EXAMPLES: Final = 3
_READ: Final = ("image_digests", "video_digest", "prompt", "truth", "digest")
_BITS: Final = (1 << 64) - 1
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
    """Looks at samples one by one and keeps three numbers of each, 24 bytes, whatever their texts are.

    The numbers are Python's own hashes, 64 bits wide: that two of a million different samples are taken for the same
    happens once in thirty million datasets.
    """

    def __init__(self) -> None:
        self._questions = array("Q")
        self._answers = array("Q")
        self._samples = array("Q")

    def add(self, shown: Sequence[str], prompt: str, truth: str, digest: str) -> None:
        """One sample.

        Args:
            shown: digests of what the model sees.
            prompt: the user's text.
            truth: the answer.
            digest: of the sample as a whole.
        """
        self._questions.append(hash((tuple(shown), prompt)) & _BITS)
        self._answers.append(hash(truth) & _BITS)
        self._samples.append(hash(digest) & _BITS)

    def same_samples(self) -> Repeated:
        """Samples that stand there once more, with the same images, question and answer."""
        return _repeated(self._samples)

    def contradictions(self) -> Repeated:
        """Samples whose question is asked elsewhere of the same images and answered otherwise."""
        return _repeated(self._questions, self._answers)


def repeat_warnings(records: RecordTable, task: Task) -> list[str]:
    """What stands there twice, in sentences with places; none where nothing does."""
    repeats = Repeats()
    for batch in records.batches(_READ):
        digests, videos, *texts = (batch[name].to_pylist() for name in _READ)
        for images, video, prompt, truth, digest in zip(digests, videos, *texts, strict=True):
            repeats.add(images if video is None else (video,), prompt, truth, digest)

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
