"""A large dataset's images, looked at by several tasks at the same time, each of which takes a part.

A part's findings lie in the run directory as a file of :class:`airtune.datasets.pictures.known_images.KnownImages`.
The stage
``validate`` takes them over, and then finds that it knows the images: it decides from the very same facts as if it had
looked itself, and looks itself at whatever is missing or has changed since.
"""

from __future__ import annotations

import math
import re
from typing import Final

from airtune.datasets.pictures.images import Images
from airtune.datasets.pictures.inspection import inspect, known_images
from airtune.datasets.progress import Meter, Say, say
from airtune.datasets.readers.formats import reader_for
from airtune.datasets.sources.archives import is_archive
from airtune.datasets.sources.source import Source
from airtune.errors import DataError, Problem, SettingsError
from airtune.runspec.document import RunDocument
from airtune.runspec.spec import DatasetSpec
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

MOST: Final = 64
"""Parts of one dataset."""

_PART: Final = re.compile(r"([1-9]\d{0,3})/([1-9]\d{0,3})")


def plan(run: RunDirectory, images_per_task: int) -> list[str]:
    """The parts in which a run's images are to be looked at, for example ``["1/2", "2/2"]``.

    Returns:
        None for a dataset that one task looks at: one with few images, an archive (every task would have to unpack it),
        or one that cannot be read at all, which is for ``validate`` to say.

    Args:
        run: the run; its run.json names the dataset.
        images_per_task: images above which there are parts, and about how many each has.

    Raises:
        StoreError: the store failed.
    """
    dataset = _dataset(run)
    if dataset.source is None or is_archive(dataset.source):
        return []
    try:
        count = math.ceil(len(_keys(dataset.source, dataset.format)) / images_per_task)
    except (DataError, SettingsError):
        return []
    count = min(count, MOST)
    return [f"{number}/{count}" for number in range(1, count + 1)] if count > 1 else []


def inspect_part(run: RunDirectory, part: str, *, tell: Say = say) -> str:
    """Look at one part of a run's images, and leave what was found in the run directory.

    Images that cannot be used are findings as well: a part does not fail for them.

    Args:
        run: the run.
        part: for example ``2/5``.
        tell: where lines about the progress go.

    Returns:
        A sentence.

    Raises:
        DataError: the dataset cannot be opened, or is in no format that is known.
        SettingsError: ``part`` is none.
        StoreError: the store failed.
    """
    number, count = _numbers(part)
    dataset = _dataset(run)
    if dataset.source is None:
        return "the run names no dataset"
    uri = dataset.source.rstrip("/")
    keys = _keys(uri, dataset.format)
    # Neighbours in the listing are mostly alike in size: every part gets some of all.
    mine = keys[number - 1 :: count]
    tell(f"part {part}: {len(mine):,} of {len(keys):,} images of {uri}")
    images = Images(uri)
    name = layout.inspected_part(number, count)
    with known_images(images) as known:
        known.hand_over(mine, run.path(name))
    inspect(images, mine, Meter("images looked at", tell), known_in=run.path(name))
    with known_images(images) as known:
        known.take_over(run.path(name))
    run.push(name)
    return f"part {part}: {len(mine):,} images are known"


def take_parts(run: RunDirectory, uri: str) -> int:
    """Take over what the parts have found, for the images below ``uri``.

    Returns:
        How many images (by content) they know; 0 where there are no parts.

    Raises:
        StoreError: the store failed.
    """
    names = sorted(info.key for info in run.store.list(layout.INSPECTED_PARTS))
    if not names:
        return 0
    run.fetch(layout.INSPECTED_PARTS)
    with known_images(Images(uri)) as known:
        return sum(known.take_over(run.path(name)) for name in names)


def _dataset(run: RunDirectory) -> DatasetSpec:
    return RunDocument.from_object(run.read_json(layout.RUN_JSON)).spec.dataset


def _keys(uri: str, named: str | None) -> list[str]:
    """What a reader takes for images, in the order of their keys."""
    _, reader = reader_for(Source.open(uri), named)
    return sorted(reader.images())


def _numbers(part: str) -> tuple[int, int]:
    match = _PART.fullmatch(part)
    if match is None or int(match[1]) > int(match[2]):
        raise SettingsError(
            Problem("--part", "is no part", value=repr(part), fix="for example 2/5: the second of five")
        )
    return int(match[1]), int(match[2])
