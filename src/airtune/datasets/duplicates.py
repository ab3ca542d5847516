"""Which pictures are nearly the same: the same one at another size, quality, format or crop.

Two pictures are near duplicates when their perceptual hashes differ in few bits *and* their colours, cell by cell, are
close. Neither is enough: a hash sees no colour, and cells see no shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from airtune.datasets.image_facts import ImageFacts

if TYPE_CHECKING:
    import numpy as np

NEAR: Final = 6
"""Bits of 64 in which the hashes of near duplicates differ at most."""

SAME_COLOUR: Final = 24
"""How far (of 255) any cell's red, green or blue may be off: room for a brightness changed by a tenth."""

_BITS: Final = 64
_PAIRS_AT_ONCE: Final = 4_000_000


def near_duplicates(
    phashes: Mapping[str, str], distance: int = NEAR, *, colours: Mapping[str, str] | None = None
) -> list[tuple[str, ...]]:
    """Groups of pictures that are nearly the same.

    Exact copies have one digest and so are one picture here. Being alike is handed on: of a film's frames the first
    and the last may share a group.

    Args:
        phashes: by digest the perceptual hash, as :class:`airtune.datasets.signature.Signature` has it; one that is
            empty is like no other.
        distance: bits in which two hashes may differ, 0 to 63.
        colours: by digest the mean colours, likewise; None looks at the hashes alone.

    Returns:
        Groups of two digests or more, each sorted, in the order of their least digests.
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    digests = sorted(digest for digest, phash in phashes.items() if phash)
    if len(digests) < 2:
        return []
    hashes = np.array([int(phashes[digest], 16) for digest in digests], dtype=np.uint64)
    cells = None
    if colours is not None:
        packed = b"".join(bytes.fromhex(colours[digest]) for digest in digests)
        cells = np.frombuffer(packed, dtype=np.uint8).reshape(len(digests), -1).astype(np.int16)
    left, right = _near_pairs(hashes, cells, distance)
    edges = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(len(digests), len(digests)))
    _, labels = connected_components(edges, directed=False)
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    groups = [tuple(digests[index] for index in part) for part in np.split(order, starts[1:]) if len(part) > 1]
    return sorted(groups)


def near_duplicates_of(images: Iterable[ImageFacts], distance: int = NEAR) -> list[tuple[str, ...]]:
    """Groups of images (by digest) that are nearly the same, see :func:`near_duplicates`."""
    by_digest = {facts.digest: facts for facts in images}
    return near_duplicates(
        {digest: facts.phash for digest, facts in by_digest.items()},
        distance,
        colours={digest: facts.colours for digest, facts in by_digest.items()},
    )


def _near_pairs(
    hashes: np.ndarray[Any, Any], cells: np.ndarray[Any, Any] | None, distance: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Indices of the pairs that are near each other.

    Of hashes cut into ``distance + 1`` bands, two that differ in at most ``distance`` bits agree in one band whole:
    only those that share a band are compared, so that 100,000 pictures need seconds and not the square of that.
    """
    import numpy as np

    found: list[np.ndarray[Any, Any]] = []
    cuts = [round(index * _BITS / (distance + 1)) for index in range(distance + 2)]
    for low, high in pairwise(cuts):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order].astype(np.int64), prepend=-1))
        for bucket in np.split(order, starts[1:]):
            found += _near_within(bucket, hashes, cells, distance)
    pairs = np.unique(np.concatenate(found, axis=1), axis=1) if found else np.empty((2, 0), dtype=np.int64)
    return pairs[0], pairs[1]


def _near_within(
    bucket: np.ndarray[Any, Any], hashes: np.ndarray[Any, Any], cells: np.ndarray[Any, Any] | None, distance: int
) -> list[np.ndarray[Any, Any]]:
    import numpy as np

    found = []
    rows = max(1, _PAIRS_AT_ONCE // len(bucket))
    for start in range(0, len(bucket), rows):
        part = bucket[start : start + rows]
        apart = np.bitwise_count(hashes[part][:, None] ^ hashes[bucket][None, :])
        i, j = np.nonzero(apart <= distance)
        left, right = part[i], bucket[j]
        keep = left < right
        left, right = left[keep], right[keep]
        if cells is not None and len(left):
            close = np.abs(cells[left] - cells[right]).max(axis=1) <= SAME_COLOUR
            left, right = left[close], right[close]
        if len(left):
            found.append(np.stack([left, right]))
    return found
