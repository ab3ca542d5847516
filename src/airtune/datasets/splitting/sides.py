"""Which side every sample of a dataset is on: what belongs together, what is alike, and the rule of the split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from airtune.datasets.pictures.inspection import ImageFacts
from airtune.datasets.record import SPLITS, Split
from airtune.datasets.splitting.classes import classes_of
from airtune.datasets.splitting.split import (
    SplitRule,
    default_ratio,
    fewest_for_validation,
    groups_of,
    most_alike,
    split_by_content,
)
from airtune.datasets.splitting.together import kept_together

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Sides:
    """The split of a dataset.

    Attributes:
        groups: of every image (by digest) the name of its group.
        of_groups: the side of each group; None where each sample brings its own.
        rule: how it came about.
    """

    groups: Mapping[str, str]
    of_groups: Mapping[str, Split] | None
    rule: SplitRule


def sides_of(
    shown: Iterable[Sequence[str]],
    samples: Callable[[], Iterable[pa.RecordBatch]],
    *,
    images: Mapping[str, ImageFacts],
    alike: Sequence[Sequence[str]],
    delivered: set[Split | None],
    ratio: float | None,
) -> Sides:
    """Find the side of every sample.

    Args:
        shown: what samples show, by digest; what stands together must not be torn.
        samples: gives the samples, with the columns ``group`` (digest of what is shown first) and ``truth``.
        images: by digest.
        alike: groups of digests that are nearly the same, see :mod:`airtune.datasets.pictures.duplicates`.
        delivered: the splits that the dataset brings; None among them: it leaves some samples open.
        ratio: the share of images for validation where the dataset brings no split; None takes the default.
    """
    groups = groups_of(shown)
    if set(SPLITS) <= delivered:
        return Sides(groups, None, SplitRule("delivered", None))
    share = ratio if ratio is not None else default_ratio(len(groups))
    used = [group for found in alike if len(group := tuple(one for one in found if one in groups)) > 1]
    kept, loose = kept_together(images, used, most_alike(len(groups), share))
    if kept:
        groups = groups_of(chain(groups.items(), kept))
    sizes = Counter(groups.values())
    classes = classes_of(samples(), groups)
    of_groups, borrowed = split_by_content(sizes, share, fewest_for_validation(len(groups), ratio), classes)
    return Sides(groups, of_groups, SplitRule("by content", share, borrowed, sum(map(len, kept)), loose))
