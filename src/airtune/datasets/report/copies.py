"""Pictures that a dataset holds more than once, side by side: exact copies, and such as are nearly the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from airtune.datasets.pictures.inspection import ImageFacts, Inspected
from airtune.datasets.record_batch import Batch
from airtune.datasets.record_table import RecordTable
from airtune.datasets.report.pictures import Pictures, Thumbnail
from airtune.datasets.report.wording import visible

GROUPS_SHOWN: Final = 12
"""Of each kind."""

_PICTURES_SHOWN: Final = 6
_NAMES_SHOWN: Final = 4


@dataclass(frozen=True, slots=True)
class Member:
    """One file's content, under all of its names."""

    names: str
    sides: str
    size: str
    picture: Thumbnail | None


@dataclass(frozen=True, slots=True)
class Group:
    """Pictures that are the same.

    Attributes:
        leak: whether training and validation both show one of them.
        members: the first few.
        files: how many files there are in all.
    """

    leak: bool
    members: tuple[Member, ...]
    files: int


@dataclass(frozen=True, slots=True)
class Copies:
    """All groups of one kind.

    Attributes:
        title: what they are.
        words: how many there are, and how many of them are on both sides.
        groups: those that are shown, leaks first.
    """

    title: str
    words: str
    groups: tuple[Group, ...]


def copies(
    inspected: Inspected, near: Sequence[Sequence[str]], records: RecordTable, pictures: Pictures
) -> list[Copies]:
    """Both kinds, those that there are.

    Args:
        inspected: what became of every image.
        near: groups of digests of pictures that are nearly the same.
        records: the samples.
        pictures: makes thumbnails.
    """
    names: defaultdict[str, list[str]] = defaultdict(list)
    facts: dict[str, ImageFacts] = {}
    for key, found in sorted(inspected.items()):
        if isinstance(found, ImageFacts):
            names[found.digest].append(key)
            facts[found.digest] = found
    exact = [(digest,) for digest, keys in names.items() if len(keys) > 1]
    sides = _sides(records, {digest for group in (*exact, *near) for digest in group})
    kinds = []
    for title, groups in (("The same file under several names", exact), ("Nearly the same picture", near)):
        ranked = sorted(groups, key=lambda group: (not _leaks(group, sides), -sum(len(names[d]) for d in group), group))
        if ranked:
            shown = tuple(_group(group, names, facts, sides, pictures) for group in ranked[:GROUPS_SHOWN])
            kinds.append(Copies(title, _words(ranked, sides), shown))
    return kinds


def _sides(records: RecordTable, wanted: set[str]) -> dict[str, set[str]]:
    """On which sides these digests are."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    sides: dict[str, set[str]] = {digest: set() for digest in wanted}
    if not wanted:
        return sides
    searched = pa.array(sorted(wanted))
    for batch in map(Batch, records.batches(["split", "image_digests", "video_digest"])):
        digests, counts = batch.shown
        hits = pc.is_in(digests, searched)
        validates = np.repeat(batch.validates, counts)[hits.to_numpy(zero_copy_only=False)]
        for digest, side in zip(digests.filter(hits).to_pylist(), validates.tolist(), strict=True):
            sides[digest].add("validation" if side else "training")
    return sides


def _leaks(group: Iterable[str], sides: Mapping[str, set[str]]) -> bool:
    return len(set().union(*(sides[digest] for digest in group))) > 1


def _words(groups: Sequence[Sequence[str]], sides: Mapping[str, set[str]]) -> str:
    leaks = sum(_leaks(group, sides) for group in groups)
    said = f"{len(groups):,} group{'s' if len(groups) > 1 else ''}, {leaks:,} of them on both sides of the split"
    more = len(groups) - GROUPS_SHOWN
    return f"{said}. {more:,} more are not shown." if more > 0 else f"{said}."


def _group(
    group: Sequence[str],
    names: Mapping[str, Sequence[str]],
    facts: Mapping[str, ImageFacts],
    sides: Mapping[str, set[str]],
    pictures: Pictures,
) -> Group:
    members = []
    for digest in sorted(group, key=lambda each: (sorted(sides[each]), names[each]))[:_PICTURES_SHOWN]:
        keys, about = names[digest], facts[digest]
        some = ", ".join(keys[:_NAMES_SHOWN]) + (
            f" and {len(keys) - _NAMES_SHOWN:,} more" if len(keys) > _NAMES_SHOWN else ""
        )
        members.append(
            Member(
                names=visible(some, 400),
                sides=" and ".join(sorted(sides[digest])) or "not used",
                size=f"{about.width} x {about.height}, {about.format}, {about.bytes:,} bytes",
                picture=pictures.of(keys[0], digest),
            )
        )
    return Group(_leaks(group, sides), tuple(members), sum(len(names[digest]) for digest in group))
