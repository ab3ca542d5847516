"""How far one distribution lies from another: a two-sample test and the population stability index.

The test says whether a difference can be chance, the index how large it is. Neither is enough alone: with a million
samples any difference is significant, and with thirty the index is large by chance (under no difference its mean is
about (bins - 1) x (1/n + 1/m); B. Yurdakul, Statistical Properties of the Population Stability Index, 2018). So a
property has shifted when both say so, see :func:`level_of`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Level = Literal["none", "some", "much"]

CHANCE: Final = 0.01
"""A difference that comes about by chance less often than this (after Holm's correction) is taken for real."""

SOME: Final = 0.1
"""Index from which a shift is worth a look: the customary reading of the population stability index."""

MUCH: Final = 0.25
"""Index from which it is a large one; likewise."""

_DECILES: Final = 10
_PICTURE_BINS: Final = 24
_MOST_CATEGORIES: Final = 30
_FEWEST_EXPECTED: Final = 5  # Cochran's rule: below it the chi-squared distribution is a poor guide
_EXACT_BELOW: Final = 200  # values a side for which the exact distribution is cheap
REST: Final = "all others"
UNCOUNTED: Final = "\0"
"""The category of texts that were not told apart: part of the rest, whatever its number."""


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of both distributions: what it stands for, and the share (0..1) of each side in it."""

    label: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Shift:
    """How two samples of one property differ.

    Attributes:
        test: name of the two-sample test.
        statistic: of the test: the largest distance between the cumulative distributions (0..1), or chi-squared.
        p_value: how often samples of one distribution differ at least so much.
        psi: population stability index; 0 is no difference.
        bins: both distributions, for a picture.
    """

    test: str
    statistic: float
    p_value: float
    psi: float
    bins: tuple[Bin, ...]


def shift_of_numbers(before: NDArray[Any], after: NDArray[Any]) -> Shift:
    """Kolmogorov and Smirnov's two-sample test, and the index over the deciles of ``before``.

    Args:
        before: at least one finite number.
        after: likewise.
    """
    import numpy as np
    from scipy import stats

    one, two = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    method = "exact" if max(len(one), len(two)) <= _EXACT_BELOW else "asymp"
    found = stats.ks_2samp(one, two, method=method)
    # Below the least and above the greatest value of `before` there is a bin each: what is new there counts.
    edges = np.unique(np.quantile(one, np.linspace(0, 1, _DECILES + 1), method="inverted_cdf"))
    edges = np.append(edges, np.nextafter(edges[-1], math.inf))
    counts = [np.bincount(np.searchsorted(edges, side, side="right"), minlength=len(edges) + 1) for side in (one, two)]
    return Shift(
        "Kolmogorov-Smirnov", float(found.statistic), float(found.pvalue), _psi(*counts), tuple(_bars(one, two))
    )


def shift_of_categories(before: Mapping[str, int], after: Mapping[str, int]) -> Shift | None:
    """Pearson's chi-squared test of homogeneity, and the index over the same categories.

    The most frequent categories of both sides together stand for themselves where enough of each is expected for the
    test; all others are one category.

    Returns:
        None where no category is frequent enough to speak of frequencies (captions, each of which occurs once).
    """
    import numpy as np
    from scipy import stats

    n, m = sum(before.values()), sum(after.values())
    if not n or not m:
        return None
    enough = _FEWEST_EXPECTED / min(n / (n + m), m / (n + m))
    both = {name: before.get(name, 0) + after.get(name, 0) for name in {*before, *after}}
    frequent = [name for name, count in both.items() if count >= enough and name != UNCOUNTED]
    named = sorted(frequent, key=lambda name: (-both[name], name))[:_MOST_CATEGORIES]
    if not named:
        return None
    table = np.array([[side.get(name, 0) for name in named] for side in (before, after)], dtype=np.float64)
    rest = np.array([n, m]) - table.sum(axis=1)
    if rest.sum():
        table = np.column_stack([table, rest])
    statistic, p_value = 0.0, 1.0
    if table.shape[1] > 1:
        found = stats.chi2_contingency(table, correction=False)
        statistic, p_value = float(found.statistic), float(found.pvalue)
    shares = table / [[n], [m]]
    labels = [*named, REST][: table.shape[1]]
    bins = tuple(Bin(label, float(one), float(two)) for label, one, two in zip(labels, *shares, strict=True))
    return Shift("chi-squared", statistic, p_value, _psi(table[0], table[1]), bins)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Holm's correction for asking several questions at once: in the order given, each at most 1.

    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = highest
    return corrected


def level_of(psi: float, adjusted_p_value: float) -> Level:
    """Whether a property has shifted: not where chance explains it, and not where it is small."""
    if adjusted_p_value >= CHANCE or psi < SOME:
        return "none"
    return "much" if psi >= MUCH else "some"


def _psi(before: NDArray[Any], after: NDArray[Any]) -> float:
    """Sum over the bins of (q - p) ln(q / p); half a sample is added to each, so that an empty bin is not infinite."""
    import numpy as np

    bins = len(before)
    p = (before + 0.5) / (before.sum() + 0.5 * bins)
    q = (after + 0.5) / (after.sum() + 0.5 * bins)
    return float(np.sum((q - p) * np.log(q / p)))


def _bars(one: NDArray[np.float64], two: NDArray[np.float64]) -> list[Bin]:
    """Both histograms over bins of equal width, outliers (the outer half percent) in the outer bins."""
    import numpy as np

    low = min(np.quantile(one, 0.005), np.quantile(two, 0.005))
    high = max(np.quantile(one, 0.995), np.quantile(two, 0.995))
    whole = all(bool(np.all(side == np.round(side))) for side in (one, two))
    if whole:
        width = max(1.0, math.ceil((high - low + 1) / _PICTURE_BINS))
        edges = np.arange(math.floor(low), high + 1 + width, width)
    else:
        edges = np.linspace(low, high, _PICTURE_BINS + 1) if high > low else np.array([low, low + 1])
    shares = []
    for side in (one, two):
        counts, _ = np.histogram(np.clip(side, edges[0], np.nextafter(edges[-1], -math.inf)), bins=edges)
        shares.append(counts / len(side))
    return [
        Bin(_label(float(start), float(end), whole=whole), float(p), float(q))
        for start, end, p, q in zip(edges[:-1], edges[1:], *shares, strict=True)
    ]


def _label(start: float, end: float, *, whole: bool) -> str:
    if not whole:
        return f"{start:.3g} to {end:.3g}"
    return f"{start:,.0f}" if end - start == 1 else f"{start:,.0f} to {end - 1:,.0f}"
