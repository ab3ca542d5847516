"""What a reader found, on disk until its images were looked at: a dataset of any size takes no more memory."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from airtune.datasets.draft import Draft, Outcome, Place, SetAside
from airtune.datasets.record import Split

OUTCOMES_IN_CHUNK: Final = 2000

_OF_PLACE: Final = tuple(field.name for field in dataclasses.fields(Place))
_OF_DRAFT: Final = tuple(field.name for field in dataclasses.fields(Draft) if field.name != "place")
_OF_ASIDE: Final = tuple(field.name for field in dataclasses.fields(SetAside) if field.name != "place")
_place, _draft, _aside = attrgetter(*_OF_PLACE), attrgetter(*_OF_DRAFT), attrgetter(*_OF_ASIDE)


class Spool:
    """The outcomes of a reader, in their order, and what is to be known of them as a whole.

    Attributes:
        samples: how many outcomes there are, usable or not.
        images: keys of all images that usable samples name.
        videos: keys of all their videos.
        delivered: the splits that the dataset brings (None: one that it leaves open). What was set aside counts: a
            validation split that is all broken is no reason to make another.
        lone: image files that no sample names.
    """

    def __init__(self, folder: Path, files: Iterable[str] = ()) -> None:
        """Make an empty one.

        Args:
            folder: where the chunks go; it exists and is empty.
            files: keys of the files that are, or should be, images.
        """
        self._folder = folder
        self._chunks = 0
        self.samples = 0
        self.images: set[str] = set()
        self.videos: set[str] = set()
        self.delivered: set[Split | None] = set()
        self.lone = set(files)

    def fill(self, outcomes: Iterable[Outcome], progress: Callable[[int], None] | None = None) -> None:
        """Take all outcomes of a reader.

        Args:
            outcomes: samples, usable or not.
            progress: told now and then how many there are.
        """
        rest = iter(outcomes)
        while chunk := list(islice(rest, OUTCOMES_IN_CHUNK)):
            self._path(self._chunks).write_bytes(pickle.dumps([_packed(outcome) for outcome in chunk], protocol=5))
            self._chunks += 1
            self.samples += len(chunk)
            for outcome in chunk:
                self.delivered.add(outcome.place.split)
                self.lone.difference_update(outcome.images)
                if isinstance(outcome, Draft):
                    self.images.update(outcome.images)
                    if outcome.video is not None:
                        self.videos.add(outcome.video)
            if progress is not None:
                progress(self.samples)

    def chunks(self) -> Iterator[list[Outcome]]:
        """The outcomes, some thousand at a time."""
        for number in range(self._chunks):
            # Written above by this very process, in a folder of its own.
            yield [_unpacked(packed) for packed in pickle.loads(self._path(number).read_bytes())]  # noqa: S301

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06}.outcomes"


def _packed(outcome: Outcome) -> tuple[Any, ...]:
    # Tuples: a frozen dataclass with slots takes ten times as long to pickle.
    usable = isinstance(outcome, Draft)
    return usable, _place(outcome.place), (_draft if usable else _aside)(outcome)


def _unpacked(packed: tuple[Any, ...]) -> Outcome:
    usable, where, values = packed
    place = Place(**dict(zip(_OF_PLACE, where, strict=True)))
    if usable:
        return Draft(place=place, **dict(zip(_OF_DRAFT, values, strict=True)))
    return SetAside(place=place, **dict(zip(_OF_ASIDE, values, strict=True)))
