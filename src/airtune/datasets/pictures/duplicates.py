"""Which pictures are nearly the same: the same one at another size, quality, format or crop.

Two pictures are near duplicates when their perceptual hashes differ in few bits *and* their colours, cell by cell, are
close. Neither is enough: a hash sees no colour, and cells see no shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from airtune.datasets.pictures.image_facts import ImageFacts

if TYPE_CHECKING:
    import numpy as np

    _Array = np.ndarray[Any, Any]

NEAR: Final = 6
"""Bits of 64 in which the hashes of near duplicates differ at most."""

SAME_COLOUR: Final = 24
"""How far (of 255) any cell's red, green or blue may be off: room for a brightness changed by a tenth."""

_BITS: Final = 64
_COMPARED_AT_ONCE: Final = 256
"""Pictures that share a band and are compared each with each."""


def near_duplicates(
    phashes: Mapping[str, str], distance: int = NEAR, *, colours: Mapping[str, str] | None = None
) -> list[tuple[str, ...]]:
    """Groups of pictures that are nearly the same.

    Exact copies have one digest and so are one picture here. Being alike is handed on: of a film's frames the first
    and the last may share a group.

    Args:
        phashes: by digest the perceptual hash, as :class:`airtune.datasets.pictures.signature.Signature` has it; one
            that is empty is like no other.
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
    left, right = _links(hashes, cells, distance)
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


def _links(hashes: _Array, cells: _Array | None, distance: int) -> tuple[_Array, _Array]:
    """Pairs of indices that are near each other: enough to connect all that are, at most one a picture and band.

    Of hashes cut into ``distance + 1`` bands, two that differ in at most ``distance`` bits agree in one band whole:
    only those that share a band are compared, so that 100,000 pictures need seconds and not the square of that.
    """
    import numpy as np

    found: list[tuple[_Array, _Array]] = []
    cuts = [round(index * _BITS / (distance + 1)) for index in range(distance + 2)]
    for low, high in pairwise(cuts):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order], prepend=~band[order][:1]) != 0)
        for bucket in np.split(order, starts[1:]):
            if len(bucket) > 1:
                within = _linked_one_by_one if len(bucket) > _COMPARED_AT_ONCE else _linked_at_once
                found += within(bucket, hashes, cells, distance)
    if not found:
        none = np.empty(0, dtype=np.int64)
        return none, none
    return np.concatenate([left for left, _ in found]), np.concatenate([right for _, right in found])


def _linked_at_once(bucket: _Array, hashes: _Array, cells: _Array | None, distance: int) -> list[tuple[_Array, _Array]]:
    """Links of a small bucket, each compared with each."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    own = hashes[bucket]
    i, j = np.nonzero(np.triu(np.bitwise_count(own[:, None] ^ own[None, :]) <= distance, 1))
    if cells is not None and len(i):
        close = np.abs(cells[bucket[i]] - cells[bucket[j]]).max(axis=1) <= SAME_COLOUR
        i, j = i[close], j[close]
    if len(i) > len(bucket):  # many are alike: one link each says as much
        edges = coo_array((np.ones(len(i), dtype=bool), (i, j)), shape=(len(bucket), len(bucket)))
        _, labels = connected_components(edges, directed=False)
        _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
        j = np.flatnonzero(first[inverse] != np.arange(len(bucket)))
        i = first[inverse][j]
    return [(bucket[i], bucket[j])] if len(i) else []


def _linked_one_by_one(
    bucket: _Array, hashes: _Array, cells: _Array | None, distance: int
) -> list[tuple[_Array, _Array]]:
    """Links of a large bucket: what is near one picture is compared with the rest only, and not with each other.

    All frames of one camera share their bands: as pairs they would be the square of their number.
    """
    import numpy as np

    links = []
    rest = bucket
    while len(rest):
        reached, rest = [rest[0]], rest[1:]
        while reached and len(rest):
            one = reached.pop()
            near = np.bitwise_count(hashes[rest] ^ hashes[one]) <= distance
            if cells is not None and near.any():
                likely = np.flatnonzero(near)
                near[likely] = np.abs(cells[rest[likely]] - cells[one]).max(axis=1) <= SAME_COLOUR
            if near.any():
                others = rest[near]
                links.append((np.full(len(others), one), others))
                reached.extend(others)
                rest = rest[~near]
    return links
