"""What a reader found, on disk until its images were looked at: a dataset of any size takes no more memory."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, TypeVar

from airtune.datasets.draft import Draft, Outcome, Place, SetAside
from airtune.datasets.record import Split

OUTCOMES_IN_CHUNK: Final = 4000

Filled = TypeVar("Filled", Place, Draft, SetAside)

_OF_PLACE: Final = tuple(entry.name for entry in dataclasses.fields(Place))
_OF_DRAFT: Final = tuple(entry.name for entry in dataclasses.fields(Draft) if entry.name != "place")
_OF_ASIDE: Final = tuple(entry.name for entry in dataclasses.fields(SetAside) if entry.name != "place")
_place, _draft, _aside = attrgetter(*_OF_PLACE), attrgetter(*_OF_DRAFT), attrgetter(*_OF_ASIDE)


@dataclass(slots=True)
class Spooled:
    """Some outcomes on disk, and what is to be known of them as a whole.

    Attributes:
        chunks: their files, in their order.
        samples: how many outcomes there are, usable or not.
        images: keys of all images that usable samples name.
        videos: keys of all their videos.
        named: keys that those name which were set aside.
        delivered: the splits that the dataset brings (None: one that it leaves open). What was set aside counts: a
            validation split that is all broken is no reason to make another.
    """

    chunks: list[Path] = field(default_factory=list)
    samples: int = 0
    images: set[str] = field(default_factory=set)
    videos: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)
    delivered: set[Split | None] = field(default_factory=set)

    def add(self, part: Spooled) -> None:
        """Take what was spooled elsewhere, behind what is there already."""
        self.chunks += part.chunks
        self.samples += part.samples
        self.images |= part.images
        self.videos |= part.videos
        self.named |= part.named
        self.delivered |= part.delivered


class Spool(Spooled):
    """All outcomes of a reader, in their order.

    Attributes:
        lone: image files that no sample names.
    """

    def __init__(self, folder: Path, files: Iterable[str] = ()) -> None:
        """Make an empty one.

        Args:
            folder: where the chunks go; it exists and is empty.
            files: keys of the files that are, or should be, images.
        """
        super().__init__()
        self.folder = folder
        self.lone = set(files)

    def fill(self, outcomes: Iterable[Outcome], progress: Callable[[int], None] | None = None) -> None:
        """Take all outcomes of a reader.

        Args:
            outcomes: samples, usable or not.
            progress: told now and then how many there are.
        """
        for part in spooled(outcomes, self.folder / "whole"):
            self.add(part)
            if progress is not None:
                progress(self.samples)

    def add(self, part: Spooled) -> None:
        """As :meth:`Spooled.add`; names of what was set aside are not kept, there may be as many as samples."""
        super().add(part)
        self.lone -= part.images
        self.lone -= part.named
        self.named.clear()


def spooled(outcomes: Iterable[Outcome], stem: Path) -> Iterator[Spooled]:
    """Put outcomes on disk, a chunk at a time.

    Args:
        outcomes: samples, usable or not.
        stem: how the chunks' names begin; other chunks must have other stems.

    Yields:
        Each chunk by itself.
    """
    rest = iter(outcomes)
    number = 0
    while chunk := list(islice(rest, OUTCOMES_IN_CHUNK)):
        part = Spooled(samples=len(chunk))
        for outcome in chunk:
            part.delivered.add(outcome.place.split)
            if isinstance(outcome, SetAside):
                part.named.update(outcome.images)
                continue
            part.images.update(outcome.images)
            if outcome.video is not None:
                part.videos.add(outcome.video)
        path = stem.with_name(f"{stem.name}-{number:06}.outcomes")
        with path.open("wb") as file:
            pickle.dump(sorted(part.images | part.videos), file, protocol=5)
            pickle.dump([_packed(outcome) for outcome in chunk], file, protocol=5)
        part.chunks.append(path)
        yield part
        number += 1


def keys_of(chunk: Path) -> list[str]:
    """The images and videos that the usable samples of a chunk name."""
    with chunk.open("rb") as file:
        keys: list[str] = pickle.load(file)  # noqa: S301  written by spooled(), in a folder of our own
    return keys


def outcomes_of(chunk: Path) -> list[Outcome]:
    """The outcomes of a chunk."""
    with chunk.open("rb") as file:
        pickle.load(file)  # noqa: S301  as above
        packed: Sequence[tuple[Any, ...]] = pickle.load(file)  # noqa: S301
    return [_unpacked(each) for each in packed]


def _packed(outcome: Outcome) -> tuple[Any, ...]:
    # Tuples: a frozen dataclass with slots takes ten times as long to pickle.
    usable = isinstance(outcome, Draft)
    return usable, _place(outcome.place), (_draft if usable else _aside)(outcome)


def _unpacked(packed: tuple[Any, ...]) -> Outcome:
    usable, where, values = packed
    place = _filled(Place, _SET_PLACE, where)
    if usable:
        return _filled(Draft, _SET_DRAFT, (*values, place))
    return _filled(SetAside, _SET_ASIDE, (*values, place))


def _setters(kind: type, names: Sequence[str]) -> tuple[Callable[[Any, Any], None], ...]:
    return tuple(getattr(kind, name).__set__ for name in names)


_SET_PLACE: Final = _setters(Place, _OF_PLACE)
_SET_DRAFT: Final = _setters(Draft, (*_OF_DRAFT, "place"))
_SET_ASIDE: Final = _setters(SetAside, (*_OF_ASIDE, "place"))


def _filled(kind: type[Filled], setters: Sequence[Callable[[Any, Any], None]], values: Sequence[Any]) -> Filled:
    """An instance with these values. What was taken from one need not go through __init__, which takes three times."""
    made = object.__new__(kind)
    for setter, value in zip(setters, values, strict=True):
        setter(made, value)
    return made
