"""Which nearly equal images stay on one side of a split, and which are too many for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from airtune.datasets.pictures.duplicates import NEAR, near_duplicates_of
from airtune.datasets.pictures.inspection import ImageFacts

CLOSER: Final = (NEAR // 2, 0)
"""Bits in which hashes may differ, tried one after the other where images are too much alike for :data:`NEAR`."""

Groups = list[tuple[str, ...]]


def kept_together(images: Mapping[str, ImageFacts], alike: Sequence[tuple[str, ...]], most: int) -> tuple[Groups, int]:
    """Groups of near duplicates that a split can keep whole.

    Being alike is handed on from one image to the next, so the frames of a film, or all pictures of one camera, may be
    one group: too large to be on one side. Its images are then grouped anew, by a smaller difference.

    Args:
        images: by digest.
        alike: groups of digests, see :func:`airtune.datasets.pictures.duplicates.near_duplicates`.
        most: images that a group may have.

    Returns:
        The groups, and how many images were in groups that were too large.
    """
    kept = [group for group in alike if len(group) <= most]
    rest = [digest for group in alike if len(group) > most for digest in group]
    loose = len(rest)
    for distance in CLOSER:
        closer = near_duplicates_of((images[digest] for digest in rest), distance)
        kept += [group for group in closer if len(group) <= most]
        rest = [digest for group in closer if len(group) > most for digest in group]
    return kept, loose
