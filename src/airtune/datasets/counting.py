"""What one look over all records counts, whole columns at a time: of a sample some numbers are kept, and no text."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from airtune.datasets.comparison.shift import REST, UNCOUNTED, level_of, shift_of_categories
from airtune.datasets.fingerprint import fingerprint_of
from airtune.datasets.record import SPLITS
from airtune.datasets.record_batch import Batch, text_numbers
from airtune.datasets.record_table import RecordTable

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

CHANGED: Final = ("replaced", "escaped", "repeated_boxes")
"""Columns that count what was changed in a sample."""

_TOLD_APART: Final = 1000
"""Answers, the most frequent, whose shares in training and in validation are compared each by itself."""

_OF_LONGEST: Final = ("id", "split", "source_file", "source_line")
_READ: Final = ("images", "image_digests", "video_digest", "prompt", "target", "truth", *_OF_LONGEST, *CHANGED)


class Counts:
    """What there is in a dataset.

    Attributes:
        samples: by split.
        images: digests of the images or videos that are used, by split.
        images_per_sample: the most.
        characters: how often each length occurs, of ``answer``, ``target`` and ``prompt``.
        longest: ``characters`` of question and answer of the longest sample, and which it is; None without samples.
        changed: by column of :data:`CHANGED`, how many ``times``, and in how many ``samples``.
        distinct_answers: how many there are; None without any, as for phrase-grounding.
        majority_answer: the most frequent in training (of several the first by the alphabet), or None.
        majority_validates: how many samples of validation have that answer.
        unlike: how the answers of validation differ from those of training, where they do; None otherwise.
        fingerprint: of all samples, see :mod:`airtune.datasets.fingerprint`.
        evaluation_set_digest: the same of the validation split.
    """

    def __init__(self, records: RecordTable) -> None:
        """Count.

        Args:
            records: all of them.
        """
        self.samples: Counter[str] = Counter()
        self.images: dict[str, set[str]] = {split: set() for split in SPLITS}
        self.images_per_sample = 0
        self.characters: dict[str, Counter[int]] = {name: Counter() for name in ("answer", "target", "prompt")}
        self.longest: dict[str, Any] | None = None
        self.changed = {name: {"times": 0, "samples": 0} for name in CHANGED}
        answers = _Answers(records)
        for batch in records.batches(_READ):
            self._add(batch, answers)
        self.distinct_answers = answers.distinct()
        self.majority_answer, self.majority_validates = answers.majority()
        self.unlike = answers.unlike()
        self.fingerprint = fingerprint_of(batch["digest"] for batch in records.batches(["digest"]))
        self.evaluation_set_digest = fingerprint_of(
            batch["digest"] for batch in records.batches(["digest"], "validation")
        )

    def _add(self, records: pa.RecordBatch, answers: _Answers) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        batch = Batch(records)
        validates = pa.array(batch.validates)
        targets, prompts = pc.utf8_length(batch["target"]), pc.utf8_length(batch["prompt"])
        for name, lengths in (("answer", pc.utf8_length(batch.answers)), ("target", targets), ("prompt", prompts)):
            counted = pc.value_counts(lengths.drop_null())
            self.characters[name].update(
                dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True))
            )
        self._longest(batch, pc.add(prompts, targets))
        self.images_per_sample = max(self.images_per_sample, pc.max(pc.list_value_length(batch["images"])).as_py())
        for name, changed in self.changed.items():
            changed["times"] += pc.sum(batch[name]).as_py()
            changed["samples"] += pc.sum(pc.greater(batch[name], 0)).as_py()
        for split, rows in zip(SPLITS, (pc.invert(validates), validates), strict=True):
            of_split = records.filter(rows)
            self.samples[split] += of_split.num_rows
            self.images[split].update(of_split["image_digests"].flatten().unique().to_pylist())
            self.images[split].update(of_split["video_digest"].drop_null().unique().to_pylist())
            answers.add(split, batch.answers.filter(rows))

    def _longest(self, batch: Batch, characters: pa.Array) -> None:
        import pyarrow.compute as pc

        most = pc.max(characters)
        if self.longest is None or most.as_py() > self.longest["characters"]:
            row = pc.index(characters, most).as_py()
            self.longest = {"characters": most.as_py(), **{name: batch[name][row].as_py() for name in _OF_LONGEST}}


class _Answers:
    """How many different answers there are, and which is the most frequent; eight bytes an answer.

    Args:
        records: where the texts are looked up again.
    """

    def __init__(self, records: RecordTable) -> None:
        self._records = records
        self._numbers: dict[str, list[np.ndarray[Any, Any]]] = {split: [] for split in SPLITS}

    def add(self, split: str, answers: pa.Array) -> None:
        """Some more answers of a split; nulls are none."""
        self._numbers[split].append(text_numbers(answers.drop_null()))

    def distinct(self) -> int | None:
        """How many different ones there are; None where there is none."""
        import numpy as np

        return len(np.unique(np.concatenate([self._all(split) for split in SPLITS]))) or None

    def majority(self) -> tuple[str | None, int]:
        """The most frequent answer in training, and how often it validates."""
        import numpy as np
        import pyarrow as pa

        numbers, counts = np.unique(self._all("train"), return_counts=True)
        if not len(numbers):
            return None, 0
        found = self._first_text(numbers[counts == counts.max()])
        return found, int((self._all("validation") == text_numbers(pa.array([found]))[0]).sum())

    def unlike(self) -> dict[str, Any] | None:
        """How the answers of validation differ from those of training; None where they do not, by any weight.

        Returns:
            ``level`` (``some`` or ``much``), ``psi``, ``test``, ``statistic``, ``p_value`` as in
            :class:`airtune.datasets.comparison.shift.Shift`; ``answer``, the one whose share differs most, and its
            shares in ``train`` and in ``validation``.
        """
        import numpy as np

        train, validation = (self._all(split) for split in SPLITS)
        numbers, which = np.unique(np.concatenate([train, validation]), return_inverse=True)
        often = np.argsort(-np.bincount(which, minlength=1), kind="stable")[:_TOLD_APART]
        counts = []
        for side in (which[: len(train)], which[len(train) :]):
            of_side = np.bincount(side, minlength=len(numbers))
            counts.append({str(numbers[index]): int(of_side[index]) for index in often[: len(numbers)]})
            counts[-1][UNCOUNTED] = len(side) - sum(counts[-1].values())
        shift = shift_of_categories(*counts)
        if shift is None or (level := level_of(shift.psi, shift.p_value)) == "none":
            return None
        named = [each for each in shift.bins if each.label != REST]
        moved = max(named, key=lambda each: (abs(each.after - each.before), each.after))
        split = "train" if moved.before else "validation"
        return {
            "level": level,
            "psi": round(shift.psi, 4),
            "test": shift.test,
            "statistic": round(shift.statistic, 4),
            "p_value": shift.p_value,
            "answer": self._first_text(np.array([int(moved.label)]), split),
            "train": round(moved.before, 6),
            "validation": round(moved.after, 6),
        }

    def _first_text(self, numbers: np.ndarray[Any, Any], split: str = "train") -> str:
        """The first by the alphabet of the answers of a split that have one of these numbers."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        found: list[str] = []
        for records in self._records.batches(["truth"], split):
            answers = Batch(records).answers.drop_null()
            least = pc.min(answers.filter(pa.array(np.isin(text_numbers(answers), numbers)))).as_py()
            if least is not None:
                found.append(least)
                if len(numbers) == 1:
                    break
        return min(found)

    def _all(self, split: str) -> np.ndarray[Any, Any]:
        import numpy as np

        return np.concatenate([np.empty(0, np.int64), *self._numbers[split]])
