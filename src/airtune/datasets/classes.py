"""Which answers or classes each group of images has: what a split is to have on both of its sides."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


class Classes:
    """Pairs of a class and a group of images that has it, in twelve bytes each."""

    def __init__(self) -> None:
        self._names = array("Q")
        self._groups = array("I")

    def add(self, name: str, group: int) -> None:
        """A group has a class; the same pair again changes nothing."""
        self._names.append(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big"))
        self._groups.append(group)

    def members(self, fewest: int) -> Iterator[NDArray[Any]]:
        """The groups of each class that has so many at least: the most frequent class first, then by its name."""
        import numpy as np

        pairs = np.zeros(len(self._names), dtype=[("name", np.uint64), ("group", np.uint32)])
        pairs["name"], pairs["group"] = self._names, self._groups
        pairs = np.unique(pairs)
        names, starts, counts = np.unique(pairs["name"], return_index=True, return_counts=True)
        for index in np.lexsort((names, -counts)):
            if counts[index] < fewest:
                return
            yield pairs["group"][starts[index] : starts[index] + counts[index]]


def classes_of(batches: Iterable[pa.RecordBatch], groups: Mapping[str, str]) -> Classes:
    """The classes of all samples.

    Args:
        batches: samples with the columns ``group`` (digest of an image) and ``truth``.
        groups: of each digest the name of its group; groups are numbered in the order of their first digest.
    """
    numbers: dict[str, int] = {}
    for name in groups.values():
        numbers.setdefault(name, len(numbers))
    found = Classes()
    for batch in batches:
        encoded = batch["truth"].dictionary_encode()
        names = [labels(json.loads(truth)) for truth in encoded.dictionary.to_pylist()]
        for digest, truth in zip(batch["group"].to_pylist(), encoded.indices.to_pylist(), strict=True):
            for name in names[truth]:
                found.add(name, numbers[groups[digest]])
    return found


def labels(truth: Mapping[str, Any]) -> list[str]:
    """What a sample is an example of: its phrases, or its answer; a caption is an example of nothing but itself.

    Args:
        truth: in the shape of :mod:`airtune.runspec.answers`.
    """
    if "groundings" in truth:
        return sorted({item["phrase"] for item in truth["groundings"]})
    return [truth[key] for key in ("answer", "text") if key in truth]
