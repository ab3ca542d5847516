"""Which samples a model learns from and which ones judge it: as delivered, else by content.

The rule for datasets that bring no split: a group of images goes to validation when the hash of its content falls
below the ratio. So the split depends on nothing but content, and adding images moves none of the old ones. Three
things are bought with an exception to that, and each is counted on record (:class:`SplitRule`):

* A dataset too small for its share by chance borrows from the groups with the next hashes.
* So does an answer or class that has groups enough for both sides, and by chance none in validation; one that has all
  of its groups there gives one back.
* A near duplicate of an old image joins its group, and may so change the group's name and side. A rule that looks at
  content alone cannot avoid it: two images that were assigned apart would have to keep their sides and to agree.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airtune.datasets.record import Split
from airtune.datasets.splitting.classes import Classes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEWEST_FOR_VALIDATION: Final = 10
"""Images: fewer judge nothing; a dataset that is too small for that gives up a fifth."""

FEWEST_OF_A_CLASS: Final = 5
"""Groups that an answer or class must have so that both sides get one: of fewer, training needs them all."""

MOST_BORROWED: Final = 0.5
"""How much larger than its share validation may grow for the sake of rare classes, relative to the share."""

_SMALL: Final = 200
_SALT: Final = b"airtune split 1:"


@dataclass(frozen=True, slots=True)
class SplitRule:
    """How the samples came to their sides.

    Attributes:
        how: ``delivered`` or ``by content``.
        ratio: the share of images meant for validation; None where the split was delivered.
        borrowed: groups of images on another side than their own content says, so that each side has its least and
            each class stands on both.
        alike: images that stay together because they are nearly the same.
        loose: images that are nearly the same as others and still stand by themselves: together they would be too
            many for one side.
    """

    how: str
    ratio: float | None
    borrowed: int = 0
    alike: int = 0
    loose: int = 0

    def __str__(self) -> str:
        if self.ratio is None:
            return "as delivered"
        said = [f"{self.ratio:.0%} of the images for validation, by content"]
        if self.alike:
            said.append(f"{self.alike} images stay with others that are nearly the same")
        if self.loose:
            said.append(f"{self.loose} images are too much alike to keep all of them on one side")
        if self.borrowed:
            said.append(f"{self.borrowed} are borrowed, so that both sides have enough of every class")
        return "; ".join(said)


def default_ratio(images: int) -> float:
    """The validation share for a dataset of so many images: 15 % below 200, 20 % from there on."""
    return 0.15 if images < _SMALL else 0.20


def groups_of(samples: Iterable[Sequence[str]]) -> dict[str, str]:
    """Which images belong together because a sample shows them together, or because they are nearly the same.

    Args:
        samples: the image digests of each sample; and those of near duplicates.

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


def most_alike(images: int, ratio: float) -> int:
    """How many near duplicates stay together: at most half of what validation is to have, but four in any case.

    A larger group would decide the size of validation by itself; a dataset of one scene before one camera would be one
    group.
    """
    return max(4, int(images * ratio / 2))


def split_by_content(
    groups: Mapping[str, int], ratio: float, fewest: int, classes: Classes | None = None
) -> tuple[dict[str, Split], int]:
    """Assign groups to the two sides.

    Args:
        groups: how many images each group has.
        ratio: the share of images for validation, 0 < ratio < 1.
        fewest: images that validation gets at least.
        classes: what to find on both sides; its groups are numbered in the order of ``groups``.

    Returns:
        The side of each group (with two groups or more, both sides have one), and how many groups are on another
        side than their content alone says.
    """
    if not groups:
        return {}, 0
    import numpy as np

    names = list(groups)
    sizes = np.fromiter(groups.values(), dtype=np.int64, count=len(names))
    places = np.fromiter(map(_place, names), dtype=np.float64, count=len(names))
    order = np.argsort(places, kind="stable")
    own = places < ratio
    cut = int(own.sum())
    while cut < len(order) and sizes[order[:cut]].sum() < fewest:
        cut += 1
    cut = min(max(cut, 1), len(order) - 1)  # one group alone is for training
    chosen = np.zeros(len(names), dtype=bool)
    chosen[order[:cut]] = True
    if classes is not None and len(names) > 1:
        _on_both_sides(chosen, sizes, places, classes, ratio, max(1, fewest))
    sides: dict[str, Split] = {
        name: "validation" if judges else "train" for name, judges in zip(names, chosen.tolist(), strict=True)
    }
    return sides, int(np.count_nonzero(chosen != own))


def _on_both_sides(
    chosen: NDArray[np.bool_],
    sizes: NDArray[np.int64],
    places: NDArray[np.float64],
    classes: Classes,
    ratio: float,
    fewest: int,
) -> None:
    """Let every class of some groups have one on each side, the most frequent class first."""
    import numpy as np

    judging = int(sizes[chosen].sum())
    most = (1 + MOST_BORROWED) * ratio * sizes.sum()
    for members in classes.members(FEWEST_OF_A_CLASS):
        judges = chosen[members]
        if not judges.any():
            nearest = members[np.argmin(places[members])]
            if judging + sizes[nearest] <= most:
                chosen[nearest] = True
                judging += int(sizes[nearest])
        elif judges.all():
            farthest = members[np.argmax(places[members])]
            if judging - sizes[farthest] >= fewest:
                chosen[farthest] = False
                judging -= int(sizes[farthest])


def _place(group: str) -> float:
    """A number in 0..1 that depends on the group's content alone."""
    return int.from_bytes(hashlib.sha256(_SALT + group.encode()).digest()[:8], "big") / 2**64
