"""How this week's data differs from last week's: samples added, removed and changed, and each distribution in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airtune.datasets.comparison.profile import PROPERTIES, Profile, Property, profile_of
from airtune.datasets.comparison.sample_changes import SampleChanges, sample_changes
from airtune.datasets.comparison.shift import (
    REST,
    Level,
    Shift,
    adjusted,
    level_of,
    shift_of_categories,
    shift_of_numbers,
)
from airtune.datasets.draft import short

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCHEMA: Final = 1

_LEVELS: Final[tuple[Level, ...]] = ("none", "some", "much")
_MOVERS: Final = 3
_LONGEST_NAME: Final = 40


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two datasets.

    Attributes:
        name: for people: a run's id, or the dataset's address.
        root_uri: where the dataset lies.
        samples: how many are used.
        images: distinct ones, by content.
        fingerprint: of its content.
    """

    name: str
    root_uri: str
    samples: int
    images: int
    fingerprint: str

    @classmethod
    def from_facts(cls, name: str, facts: Mapping[str, Any]) -> Side:
        """From the content of ``dataset/facts.json``."""
        return cls(name, facts["root_uri"], facts["samples"], facts["images"], facts["fingerprint"])


@dataclass(frozen=True, slots=True)
class PropertyDrift:
    """One property of both datasets.

    Attributes:
        what: the property.
        before: count, mean and the quartiles of numbers; count and distinct values of categories.
        after: likewise.
        shift: the statistics.
        adjusted_p_value: corrected for all properties that were looked at.
        level: whether it has drifted, and how far.
        words: a sentence that says so.
    """

    what: Property
    before: Mapping[str, float]
    after: Mapping[str, float]
    shift: Shift
    adjusted_p_value: float
    level: Level
    words: str

    def to_json(self) -> dict[str, Any]:
        """One entry of ``properties`` in ``validation/drift.json``."""
        shift = self.shift
        return {
            "name": self.what.name,
            "title": self.what.title,
            "unit": self.what.unit,
            "level": self.level,
            "words": self.words,
            "before": dict(self.before),
            "after": dict(self.after),
            "test": shift.test,
            "statistic": shift.statistic,
            "p_value": shift.p_value,
            "adjusted_p_value": self.adjusted_p_value,
            "psi": shift.psi,
            "bins": [asdict(each) for each in shift.bins],
        }


@dataclass(frozen=True, slots=True)
class Drift:
    """Everything that is known about how two datasets differ.

    Attributes:
        before: the older dataset.
        after: the newer one.
        changes: sample by sample.
        properties: those that both have, in the order of :data:`airtune.datasets.comparison.profile.PROPERTIES`.
    """

    before: Side
    after: Side
    changes: SampleChanges
    properties: tuple[PropertyDrift, ...]

    @property
    def level(self) -> Level:
        """That of the property that has drifted most."""
        return max((each.level for each in self.properties), key=_LEVELS.index, default="none")

    @property
    def same(self) -> bool:
        """Whether both hold the same samples."""
        return self.before.fingerprint == self.after.fingerprint

    @property
    def drifted(self) -> tuple[PropertyDrift, ...]:
        """The properties that have drifted, those that moved furthest first."""
        moved = [each for each in self.properties if each.level != "none"]
        return tuple(sorted(moved, key=lambda each: -each.shift.psi))

    @property
    def words(self) -> str:
        """The whole in one sentence."""
        if self.same:
            return f"the same samples as {self.before.name}"
        changes = self.changes
        samples = (
            f"against {self.before.name}: {changes.added:,} samples added, {changes.removed:,} removed, "
            f"{changes.changed:,} changed, {changes.same:,} the same"
        )
        if not self.drifted:
            return f"{samples}; no property has drifted"
        return f"{samples}; drifted: {', '.join(each.what.title.lower() for each in self.drifted)}"

    def to_json(self) -> dict[str, Any]:
        """The content of ``validation/drift.json``."""
        return {
            "schema": SCHEMA,
            "level": self.level,
            "words": self.words,
            "before": asdict(self.before),
            "after": asdict(self.after),
            "samples": self.changes.to_json(),
            "properties": [each.to_json() for each in self.properties],
        }


def compare(before: Side, after: Side, *, before_tables: tuple[Path, Path], after_tables: tuple[Path, Path]) -> Drift:
    """Compare two validated datasets.

    Args:
        before: the older dataset.
        after: the newer one.
        before_tables: its records, and its images (which may not be there).
        after_tables: likewise.

    Raises:
        DataError: a table is missing or damaged.
    """
    changes = sample_changes(before_tables[0], after_tables[0])
    properties = drift_of(profile_of(*before_tables), profile_of(*after_tables))
    return Drift(before, after, changes, tuple(properties))


def drift_of(before: Profile, after: Profile) -> list[PropertyDrift]:
    """Every property that both datasets have."""
    import numpy as np

    found: list[tuple[Property, Shift, Mapping[str, float], Mapping[str, float]]] = []
    for name, what in PROPERTIES.items():
        if before.numbers.get(name) and after.numbers.get(name):
            one, two = (np.frombuffer(side.numbers[name], dtype=np.float32) for side in (before, after))
            found.append((what, shift_of_numbers(one, two), _summary(one), _summary(two)))
        elif before.counts.get(name) and after.counts.get(name):
            shift = shift_of_categories(before.counts[name], after.counts[name])
            if shift is not None:
                sides = [
                    {"count": float(side.counts[name].total()), "distinct": float(len(side.counts[name]))}
                    for side in (before, after)
                ]
                found.append((what, shift, sides[0], sides[1]))
    corrected = adjusted([shift.p_value for _, shift, _, _ in found])
    drifts = []
    for (what, shift, one_side, other_side), p_value in zip(found, corrected, strict=True):
        level = level_of(shift.psi, p_value)
        words = _in_words(what, shift, level, one_side, other_side)
        drifts.append(PropertyDrift(what, one_side, other_side, shift, p_value, level, words))
    return drifts


def _summary(values: NDArray[np.float32]) -> dict[str, float]:
    import numpy as np

    wide = values.astype(np.float64)
    quartiles = np.quantile(wide, (0, 0.25, 0.5, 0.75, 1))
    names = ("least", "lower_quartile", "median", "upper_quartile", "most")
    return {
        "count": float(len(wide)),
        "mean": float(f"{wide.mean():.6g}"),
        **{name: float(f"{value:.6g}") for name, value in zip(names, quartiles, strict=True)},
    }


def _in_words(
    what: Property, shift: Shift, level: Level, before: Mapping[str, float], after: Mapping[str, float]
) -> str:
    unit = f"{what.unit}; " if what.unit else ""
    statistics = f"{unit}index {shift.psi:.2f}, {shift.test} {shift.statistic:.3g}"
    if level == "none":
        return f"{what.title}: no drift ({statistics})"
    how = "much" if level == "much" else "somewhat"
    if "median" in before:
        middle = f"median {before['median']:,.4g} before, {after['median']:,.4g} now"
        return f"{what.title}: {how} {_moved(before, after)}, {middle} ({statistics})"
    movers = sorted((each for each in shift.bins), key=lambda each: -abs(each.after - each.before))[:_MOVERS]
    shares = ", ".join(
        f"{each.label if each.label == REST else short(each.label, _LONGEST_NAME)} "
        f"{each.before:.1%} before, {each.after:.1%} now"
        for each in movers
    )
    return f"{what.title}: {how} different: {shares} ({statistics})"


def _moved(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """Which way numbers went: both their middle and their mean must say so."""
    ways: Sequence[float] = [after[name] - before[name] for name in ("median", "mean")]
    if all(way > 0 for way in ways):
        return "higher"
    if all(way < 0 for way in ways):
        return "lower"
    return "differently spread"
