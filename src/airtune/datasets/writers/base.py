"""What every writer can do, and what they share: sides of a split, and boxes in the units of a format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from airtune.datasets.annotations.boxes import Units, finish
from airtune.datasets.draft import Draft, Reject
from airtune.datasets.record import Split
from airtune.datasets.writers.pictures import Pictures
from airtune.runspec.answers import COORDINATE_RANGE
from airtune.runspec.tasks import Task

Sides = Mapping[Split | None, Split | None]
"""The side that a sample is written to, by the side that it was delivered for."""


class Writer(Protocol):
    """Writes samples, one after another, in the order in which they were read.

    Args:
        root: an empty folder.
        pictures: puts the images there.
        sides: where a sample goes.
    """

    name: ClassVar[str]
    """What ``--to`` calls the format."""

    def __init__(self, root: Path, pictures: Pictures, sides: Sides) -> None: ...

    def add(self, draft: Draft, task: Task) -> None:
        """Write one sample.

        Raises:
            Reject: the format cannot hold it, or it is broken.
        """

    def nothing(self, image: str, split: Split | None) -> None:
        """Write that an image was annotated as showing no object.

        Raises:
            Reject: the format cannot hold that.
        """

    def close(self) -> None:
        """Write what is left, once there are no more samples."""


def cannot_hold(name: str, what: str) -> Reject:
    """The refusal of a sample that is sound, and no matter for this format."""
    return Reject("not-representable", f"{name} cannot hold {what}")


def only_image(name: str, draft: Draft) -> str:
    """The image of a sample that shows one.

    Raises:
        Reject: it shows none, several, or a video.
    """
    if draft.video is not None:
        raise cannot_hold(name, "a video")
    if len(draft.images) != 1:
        raise cannot_hold(name, f"a sample with {len(draft.images)} images")
    return draft.images[0]


def checked_boxes(draft: Draft, size: tuple[int, int]) -> dict[str, Any]:
    """The truth of a grounding sample with its boxes on the grid.

    Raises:
        Reject: a box is broken: a format that cannot say so must not be made to look sound.
    """
    return finish(draft.truth, draft.units, size)


def as_fractions(edges: list[float], units: Units, size: tuple[int, int]) -> list[float]:
    """A box in fractions of the image."""
    width, height = {"fraction": (1, 1), "pixel": size, "grid": (COORDINATE_RANGE, COORDINATE_RANGE)}[units]
    left, top, right, bottom = edges
    return [left / width, top / height, right / width, bottom / height]


def as_pixels(edges: list[float], units: Units, size: tuple[int, int]) -> list[float]:
    """A box in pixels, to the thousandth; those of whole pixels are integers."""
    if units == "pixel":
        pixels = edges
    else:
        left, top, right, bottom = as_fractions(edges, units, size)
        pixels = [left * size[0], top * size[1], right * size[0], bottom * size[1]]
    rounded = [round(edge, 3) for edge in pixels]
    return [int(edge) if float(edge).is_integer() else edge for edge in rounded]
