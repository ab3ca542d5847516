"""What the model could learn by heart because it stands on both sides of the split: the same picture, or nearly.

A split made here has none (see :mod:`airtune.datasets.splitting.split`); one that was delivered is used as it is, and
said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, Literal

from airtune.datasets.record import SPLITS
from airtune.datasets.record_table import RecordTable

MOST_NAMED: Final = 100
"""Leaks of each kind that ``validation/result.json`` names; the counts are of all."""

_NAMED_IN_WORDS: Final = 3
_NAMES_KEPT: Final = 10


@dataclass(frozen=True, slots=True)
class Leak:
    """Pictures of both sides that are one picture.

    Attributes:
        kind: ``exact``: the same file, byte for byte; ``near``: nearly the same picture.
        train: names of them in training.
        validation: names of them in validation.
    """

    kind: Literal["exact", "near"]
    train: tuple[str, ...]
    validation: tuple[str, ...]

    def __str__(self) -> str:
        return f"{_some(self.train)} (train) = {_some(self.validation)} (validation)"

    def to_json(self) -> dict[str, Any]:
        """One entry of ``first`` in :meth:`Leaks.to_json`: how many of each side, and the first names."""
        return {
            "kind": self.kind,
            "train_images": len(self.train),
            "validation_images": len(self.validation),
            "train": list(self.train[:_NAMES_KEPT]),
            "validation": list(self.validation[:_NAMES_KEPT]),
        }


@dataclass(frozen=True, slots=True)
class Leaks:
    """All leaks of a dataset.

    Attributes:
        exact: pictures that are on both sides.
        near: groups of near duplicates that are on both sides, without those that are only there because of an
            exact copy.
    """

    exact: tuple[Leak, ...] = ()
    near: tuple[Leak, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """In words, with the first names."""
        said = []
        if self.exact:
            said.append(
                f"{_images(len(self.exact))} in training and in validation, so scores are too good: "
                f"{_named(self.exact)}"
            )
        if self.near:
            said.append(
                f"in {len(self.near)} cases images of training and validation are nearly the same, so scores may be "
                f"too good: {_named(self.near)}"
            )
        return said

    def to_json(self) -> dict[str, Any]:
        """The entry ``leaks`` of ``validation/result.json``."""
        return {
            "exact": len(self.exact),
            "near": len(self.near),
            "first": [leak.to_json() for leak in (*self.exact[:MOST_NAMED], *self.near[:MOST_NAMED])],
        }


def leaks_of(records: RecordTable, shown: Mapping[str, Set[str]], near: Iterable[Sequence[str]]) -> Leaks:
    """Find what is on both sides of a dataset's split.

    Args:
        records: all of them.
        shown: by split the digests of all that its records show.
        near: groups of digests that are nearly the same picture, see :mod:`airtune.datasets.pictures.duplicates`.
    """
    train, validation = (shown[split] for split in SPLITS)
    suspects = set(train & validation)
    for group in near:
        if not (train.isdisjoint(group) or validation.isdisjoint(group)):
            suspects.update(group)
    return leaks_between(_shown(records, suspects), near) if suspects else Leaks()


def leaks_between(shown: Iterable[tuple[str, Sequence[str], Sequence[str]]], alike: Iterable[Sequence[str]]) -> Leaks:
    """Find what is on both sides.

    Args:
        shown: of each record its split, the names of its images (or of its video) and their digests.
        alike: groups of digests that are nearly the same picture, see :mod:`airtune.datasets.pictures.duplicates`.
    """
    sides: dict[str, dict[str, set[str]]] = {split: defaultdict(set) for split in SPLITS}
    for split, names, digests in shown:
        for name, digest in zip(names, digests, strict=True):
            sides[split][digest].add(name)
    train, validation = (sides[split] for split in SPLITS)
    both = train.keys() & validation.keys()
    exact = [Leak("exact", _sorted(train[digest]), _sorted(validation[digest])) for digest in both]
    near = []
    for group in alike:
        one, other = (_sorted(_names(side, group, both)) for side in (train, validation))
        if one and other:
            near.append(Leak("near", one, other))
    return Leaks(tuple(sorted(exact, key=_by_name)), tuple(sorted(near, key=_by_name)))


def _shown(records: RecordTable, suspects: set[str]) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """Where the suspects stand: split, name and digest; what neighbours show alike comes once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(sorted(suspects))
    for batch in records.batches(("split", "images", "image_digests", "video", "video_digest")):
        of_row = pc.list_parent_indices(batch["images"])
        images = pa.table({
            "split": batch["split"].take(of_row),
            "name": batch["images"].flatten(),
            "digest": batch["image_digests"].flatten(),
        })  # fmt: skip
        videos = pa.table({"split": batch["split"], "name": batch["video"], "digest": batch["video_digest"]})
        for table in (images, videos.drop_null()):
            found = table.filter(pc.is_in(table["digest"], wanted))
            once = found.group_by(found.column_names).aggregate([])
            for split, name, digest in zip(*(column.to_pylist() for column in once.columns), strict=True):
                yield split, [name], [digest]


def _names(side: Mapping[str, set[str]], group: Sequence[str], without: set[str]) -> set[str]:
    return {name for digest in group if digest in side and digest not in without for name in side[digest]}


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def _by_name(leak: Leak) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return leak.validation, leak.train


def _named(leaks: Sequence[Leak]) -> str:
    return "; ".join(map(str, leaks[:_NAMED_IN_WORDS])) + (" …" if len(leaks) > _NAMED_IN_WORDS else "")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:2]) + (" …" if len(names) > 2 else "")


def _images(count: int) -> str:
    return "1 image is" if count == 1 else f"{count:,} images are"
