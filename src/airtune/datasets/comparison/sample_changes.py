"""Which samples of two datasets are the same, added, removed, or changed.

Samples are the same when their digests are (content: pictures, question and answer; see
:mod:`airtune.datasets.fingerprint`). What is left over on both sides is matched three times, by what may have stayed:
the same pictures and question with another answer; the same pictures and answer with another question, where only one
sample on each side has them; the same file names, question and answer with other pictures. What then has no match was
added or removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from airtune.datasets.comparison.profile import batches

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Keys = NDArray[np.uint64]
    Rows = NDArray[np.int64]

Part = Literal["answer", "question", "picture"]
PARTS: Final[tuple[Part, ...]] = ("answer", "question", "picture")

MOST_NAMED: Final = 100
"""Samples of each kind that are named; the counts are of all."""

_COLUMNS: Final = (
    "id",
    "images",
    "image_digests",
    "video",
    "video_digest",
    "prompt",
    "target",
    "source_file",
    "source_line",
    "split",
)


@dataclass(frozen=True, slots=True)
class Change:
    """A sample that is in both datasets, but not the same.

    Attributes:
        part: what is different.
        before: the sample as it was: ``id``, ``images`` (names), ``prompt``, ``target``, ``source_file``,
            ``source_line`` and ``split``.
        after: as it is now, likewise.
    """

    part: Part
    before: Mapping[str, Any]
    after: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SampleChanges:
    """Two datasets, sample by sample.

    Attributes:
        same: samples that both have, wherever and in whatever format (a sample twice counts twice).
        added: samples without a counterpart in the older dataset.
        removed: samples without a counterpart in the newer one.
        changed_parts: samples with a counterpart that is not the same, by what is different.
        moved: samples that both have, on another side of the split.
        changes: the first of those that changed.
        added_samples: the first that were added, as :attr:`Change.after`.
        removed_samples: the first that were removed, as :attr:`Change.before`.
    """

    same: int
    added: int
    removed: int
    changed_parts: Mapping[Part, int]
    moved: int
    changes: tuple[Change, ...]
    added_samples: tuple[Mapping[str, Any], ...]
    removed_samples: tuple[Mapping[str, Any], ...]

    @property
    def changed(self) -> int:
        """All that have a counterpart which is not the same."""
        return sum(self.changed_parts.values())

    def to_json(self) -> dict[str, Any]:
        """The entry ``samples`` of ``validation/drift.json``."""
        return {
            "same": self.same,
            "added": self.added,
            "removed": self.removed,
            "changed": self.changed,
            "changed_parts": dict(self.changed_parts),
            "moved": self.moved,
            "added_first": [dict(each) for each in self.added_samples],
            "removed_first": [dict(each) for each in self.removed_samples],
            "changed_first": [
                {"part": each.part, "before": dict(each.before), "after": dict(each.after)} for each in self.changes
            ],
        }


def sample_changes(before: Path, after: Path) -> SampleChanges:
    """Match the samples of two tables of records.

    Needs some 50 bytes a record, and as much again for each that is not in both.

    Raises:
        DataError: a table is missing or damaged.
    """
    import numpy as np

    old, new = _digests(before), _digests(after)
    one, two = _paired(old[0], new[0], (old[1], new[1]))
    moved = int(np.count_nonzero(old[1][one] != new[1][two]))
    gone, come = np.delete(np.arange(len(old[0])), one), np.delete(np.arange(len(new[0])), two)
    same = len(one)
    old_keys, new_keys = _keys(before, gone), _keys(after, come)
    counts: dict[Part, int] = {}
    named: list[tuple[Part, int, int]] = []
    for part in PARTS:
        one, two = _matches(part, old_keys[part], new_keys[part])
        counts[part] = len(one)
        named += [(part, int(gone[i]), int(come[j])) for i, j in list(zip(one, two, strict=True))[:MOST_NAMED]]
        gone, come = np.delete(gone, one), np.delete(come, two)
        old_keys = {name: np.delete(keys, one) for name, keys in old_keys.items()}
        new_keys = {name: np.delete(keys, two) for name, keys in new_keys.items()}
    named = named[:MOST_NAMED]
    was = _rows(before, [*gone[:MOST_NAMED].tolist(), *(row for _, row, _ in named)])
    now = _rows(after, [*come[:MOST_NAMED].tolist(), *(row for _, _, row in named)])
    return SampleChanges(
        same=same,
        added=len(come),
        removed=len(gone),
        changed_parts=counts,
        moved=moved,
        changes=tuple(Change(part, was[row], now[other]) for part, row, other in named),
        added_samples=tuple(now[row] for row in come[:MOST_NAMED].tolist()),
        removed_samples=tuple(was[row] for row in gone[:MOST_NAMED].tolist()),
    )


def _digests(path: Path) -> tuple[Keys, Keys]:
    """Of every record, 64 bits of its digest (two of a million are alike once in 40 million datasets) and its side."""
    import numpy as np

    keys, sides = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.uint64)]
    for batch in batches(path, ("digest", "split")):
        found = [int(digest[:16], 16) for digest in batch.column("digest").to_pylist()]
        keys.append(np.array(found, dtype=np.uint64))
        sides.append(np.array([split == "train" for split in batch.column("split").to_pylist()], dtype=np.uint64))
    return np.concatenate(keys), np.concatenate(sides)


def _paired(one: Keys, two: Keys, then: tuple[Keys, Keys] | None = None) -> tuple[Rows, Rows]:
    """Pairs of equal keys, each row in at most one pair.

    Args:
        one: keys.
        two: keys.
        then: by what rows of equal keys are ordered before they are paired; None leaves them as they are.

    Returns:
        The rows of both sides, pair by pair.
    """
    import numpy as np

    orders = [
        np.lexsort((then[index], keys)) if then is not None else np.argsort(keys, kind="stable")
        for index, keys in enumerate((one, two))
    ]
    first, second = one[orders[0]], two[orders[1]]
    pairs = []
    # The n-th of a key on one side is paired with the n-th on the other, where there is one.
    for order, mine, other in ((orders[0], first, second), (orders[1], second, first)):
        number = np.arange(len(mine)) - np.searchsorted(mine, mine, side="left")
        there = np.searchsorted(other, mine, side="right") - np.searchsorted(other, mine, side="left")
        pairs.append(order[number < there])
    return pairs[0], pairs[1]


def _matches(part: Part, one: Keys, two: Keys) -> tuple[Rows, Rows]:
    import numpy as np

    chosen = []
    for keys in (one, two):
        _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        # Of many questions with the answer "yes", nobody knows which one became which.
        usable = (keys != 0) & ((counts[inverse] == 1) if part == "question" else True)
        chosen.append(np.flatnonzero(usable))
    left, right = _paired(one[chosen[0]], two[chosen[1]])
    return chosen[0][left], chosen[1][right]


def _keys(path: Path, rows: Rows) -> dict[Part, Keys]:
    """Of these rows, a number for what must be equal when only that part has changed; 0 where nothing can tell."""
    import numpy as np

    found: dict[Part, list[int]] = {part: [] for part in PARTS}
    for _, batch in _each(path, rows, ("images", "image_digests", "video", "video_digest", "prompt", "target")):
        columns = (batch.column(name).to_pylist() for name in batch.schema.names)
        for images, digests, video, video_digest, prompt, target in zip(*columns, strict=True):
            shown = "\0".join(digests) if video_digest is None else video_digest
            names = "\0".join(name.rpartition("/")[2] for name in (images if video is None else [video]))
            found["answer"].append(_key(shown, prompt))
            found["question"].append(_key(shown, target) if shown else 0)
            found["picture"].append(_key(names, prompt, target) if shown else 0)
    return {part: np.array(keys, dtype=np.uint64) for part, keys in found.items()}


def _key(*parts: str) -> int:
    text = "\0\0".join(parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _rows(path: Path, rows: Sequence[int]) -> dict[int, dict[str, Any]]:
    """What a person wants to know of these samples, by row."""
    import numpy as np

    return {
        index: {
            "id": row["id"],
            "images": row["images"] if row["video"] is None else [row["video"]],
            "prompt": row["prompt"],
            "target": row["target"],
            "source_file": row["source_file"],
            "source_line": row["source_line"],
            "split": row["split"],
        }
        for numbers, batch in _each(path, np.unique(np.array(rows, dtype=np.int64)), _COLUMNS)
        for index, row in zip(numbers, batch.to_pylist(), strict=True)
    }


def _each(path: Path, rows: Rows, columns: Sequence[str]) -> Iterator[tuple[list[int], pa.RecordBatch]]:
    """The rows with these ascending numbers, some thousand at a time, with their numbers."""
    import numpy as np

    start = 0
    for batch in batches(path, columns):
        here = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + batch.num_rows)]
        if len(here):
            yield here.tolist(), batch.take(here - start)
        start += batch.num_rows
        if not len(rows) or start > rows[-1]:
            return
