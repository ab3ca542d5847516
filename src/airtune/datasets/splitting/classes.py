"""Which answers or classes each group of images has: what a split is to have on both of its sides."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


class Classes:
    """Pairs of a class and a group of images that has it, in twelve bytes each."""

    def __init__(self) -> None:
        self._names = array("Q")
        self._groups = array("I")

    def add(self, names: Sequence[str], groups: Iterable[int], chosen: Iterable[int]) -> None:
        """Some more pairs; the same pair again changes nothing.

        Args:
            names: of classes.
            groups: of each pair the number of the group.
            chosen: of each pair which of ``names``.
        """
        import numpy as np

        numbers = np.array([_number(name) for name in names], dtype=np.uint64)
        self._names.frombytes(numbers[np.asarray(chosen, dtype=np.intp)].tobytes())
        self._groups.frombytes(np.asarray(groups, dtype=np.uint32).tobytes())

    def members(self, fewest: int) -> Iterator[NDArray[Any]]:
        """The groups of each class that has so many at least: the most frequent class first, then by its name."""
        import numpy as np

        if not self._names:
            return
        names, which = np.unique(np.frombuffer(self._names, dtype=np.uint64), return_inverse=True)
        groups = np.frombuffer(self._groups, dtype=np.uint32).astype(np.int64)
        width = int(groups.max()) + 1
        pairs = np.unique(which * width + groups)
        _, starts, counts = np.unique(pairs // width, return_index=True, return_counts=True)
        for index in np.lexsort((names, -counts)):
            if counts[index] < fewest:
                return
            yield pairs[starts[index] : starts[index] + counts[index]] % width


def classes_of(batches: Iterable[pa.RecordBatch], groups: Mapping[str, str]) -> Classes:
    """The classes of all samples.

    Args:
        batches: samples with the columns ``group`` (digest of an image) and ``truth``.
        groups: of each digest the name of its group; groups are numbered in the order of their first digest.
    """
    import numpy as np

    numbers: dict[str, int] = {}
    for name in groups.values():
        numbers.setdefault(name, len(numbers))
    found = Classes()
    for batch in batches:
        truths, shown = (batch[name].dictionary_encode() for name in ("truth", "group"))
        of_truth = [labels(json.loads(truth)) for truth in truths.dictionary.to_pylist()]
        group_of = np.array([numbers[groups[digest]] for digest in shown.dictionary.to_pylist()], dtype=np.uint32)
        names = sorted({name for known in of_truth for name in known})
        places = {name: index for index, name in enumerate(names)}
        # Each row stands as often as its truth has labels.
        flat = np.array([places[name] for known in of_truth for name in known], dtype=np.int64)
        counts = np.array([len(known) for known in of_truth], dtype=np.int64)
        ends = np.cumsum(counts)
        row_truth = truths.indices.to_numpy()
        row_counts = counts[row_truth]
        within = np.arange(row_counts.sum()) - np.repeat(np.cumsum(row_counts) - row_counts, row_counts)
        chosen = flat[np.repeat((ends - counts)[row_truth], row_counts) + within]
        found.add(names, np.repeat(group_of[shown.indices.to_numpy()], row_counts), chosen)
    return found


def _number(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def labels(truth: Mapping[str, Any]) -> list[str]:
    """What a sample is an example of: its phrases, or its answer; a caption is an example of nothing but itself.

    Args:
        truth: in the shape of :mod:`airtune.runspec.answers`.
    """
    if "groundings" in truth:
        return sorted({item["phrase"] for item in truth["groundings"]})
    return [truth[key] for key in ("answer", "text") if key in truth]
