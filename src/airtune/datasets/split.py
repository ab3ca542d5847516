"""Which samples a model learns from and which ones judge it: as delivered, else by content.

The rule for datasets that bring no split: a group of images goes to validation when the hash of its content falls
below the ratio. So the split depends on nothing but content, and adding images moves none of the old ones. Only a
dataset too small for its share by chance borrows from the groups with the next hashes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from airtune.datasets.record import Split

FEWEST_FOR_VALIDATION: Final = 10
"""Images: fewer judge nothing; a dataset that is too small for that gives up a fifth."""

_SMALL: Final = 200
_SALT: Final = b"airtune split 1:"


@dataclass(frozen=True, slots=True)
class SplitRule:
    """How the samples came to their sides.

    Attributes:
        how: ``delivered`` or ``by content``.
        ratio: the share of images meant for validation; None where the split was delivered.
    """

    how: str
    ratio: float | None

    def __str__(self) -> str:
        return "as delivered" if self.ratio is None else f"{self.ratio:.0%} of the images for validation, by content"


def default_ratio(images: int) -> float:
    """The validation share for a dataset of so many images: 15 % below 200, 20 % from there on."""
    return 0.15 if images < _SMALL else 0.20


def groups_of(samples: Iterable[Sequence[str]]) -> dict[str, str]:
    """Which images belong together because a sample shows them together.

    Args:
        samples: the image digests of each sample.

    Returns:
        For every digest the name of its group: the least digest in it.
    """
    parent: dict[str, str] = {}

    def root(digest: str) -> str:
        parent.setdefault(digest, digest)
        while parent[digest] != digest:
            parent[digest] = parent[parent[digest]]
            digest = parent[digest]
        return digest

    for digests in samples:
        roots = sorted({root(digest) for digest in digests})
        for other in roots[1:]:
            parent[other] = roots[0]
    return {digest: root(digest) for digest in parent}


def fewest_for_validation(images: int, ratio: float | None) -> int:
    """How many images validation gets at least, whatever the hashes say.

    Args:
        images: of the dataset.
        ratio: the share that was asked for; None where the default is used.
    """
    wanted = FEWEST_FOR_VALIDATION if ratio is None else math.ceil(images * ratio)
    return min(FEWEST_FOR_VALIDATION, wanted, math.ceil(images / 5))


def split_by_content(groups: Mapping[str, int], ratio: float, fewest: int) -> dict[str, Split]:
    """Assign groups to the two sides.

    Args:
        groups: how many images each group has.
        ratio: the share of images for validation, 0 < ratio < 1.
        fewest: images that validation gets at least.

    Returns:
        The side of each group; with two groups or more, both sides have one.
    """
    order = sorted(groups, key=_place)
    cut = sum(_place(group) < ratio for group in order)
    while cut < len(order) and sum(groups[group] for group in order[:cut]) < fewest:
        cut += 1
    cut = min(max(cut, 1), len(order) - 1)  # one group alone is for training
    return {group: "validation" if position < cut else "train" for position, group in enumerate(order)}


def _place(group: str) -> float:
    """A number in 0..1 that depends on the group's content alone."""
    return int.from_bytes(hashlib.sha256(_SALT + group.encode()).digest()[:8], "big") / 2**64
