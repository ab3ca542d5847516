"""The boxes of one annotation file, gathered by image.

Files list their boxes in any order, and there may be millions of them: they are kept as numbers in arrays (44 bytes a
box) and put in order once, at the end.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Final

from airtune.datasets.annotations.sentences import truth_of
from airtune.datasets.draft import Reject, short
from airtune.runspec.tasks import Task

_EDGES: Final = 4


def number(text: str) -> float | None:
    """The number that a text format writes so; None where it is none. It may be infinite, or not a number (NaN)."""
    if "_" in text or not text.isascii():  # Python reads more than any format writes
        return None
    try:
        return float(text)
    except ValueError:
        return None


def refuse_other_tasks(task: Task) -> None:
    """Boxes with the names of classes, and nothing else, serve phrase grounding.

    Raises:
        Reject: the run is for another task.
    """
    if task is not Task.PHRASE_GROUNDING:
        raise Reject("other-task", f"an image with boxes has no sample for {task.value}")


class Objects:
    """Boxes with their classes, by image; images and classes go by whatever the file calls them."""

    def __init__(self) -> None:
        self._images: dict[Hashable, int] = {}
        self._classes: dict[Hashable, int] = {}
        self._image = array("q")
        self._class = array("i")
        self._edges = array("d")
        self._flaws: dict[int, Reject] = {}

    def add(self, image: Hashable, of: Hashable, left: float, top: float, right: float, bottom: float) -> None:
        """One box."""
        images, classes = self._images, self._classes
        try:
            self._edges.extend(array("d", (left, top, right, bottom)))
        except OverflowError:  # an integer of hundreds of digits
            self.flaw(image, Reject("box-shape", "a number of a box is too large"))
            return
        self._image.append(images.setdefault(image, len(images)))
        self._class.append(classes.setdefault(of, len(classes)))

    def flaw(self, image: Hashable, refusal: Reject) -> None:
        """Something of the image cannot be read, so that its other boxes are not the whole truth; the first counts."""
        self._flaws.setdefault(self._images.setdefault(image, len(self._images)), refusal)

    def see(self, image: Hashable) -> None:
        """The image is annotated, if only as showing nothing."""
        self._images.setdefault(image, len(self._images))

    def by_image(self) -> Iterator[tuple[Hashable, Found]]:
        """Every image with what was found of it, in the order in which the images were first named."""
        import numpy as np

        owners = np.frombuffer(self._image, dtype=np.int64) if self._image else np.empty(0, dtype=np.int64)
        order = np.argsort(owners, kind="stable")
        starts = np.searchsorted(owners[order], np.arange(len(self._images) + 1)).tolist()
        edges = np.frombuffer(self._edges).reshape(-1, _EDGES) if self._edges else np.empty((0, _EDGES))
        names = list(self._classes)
        for number, image in enumerate(self._images):
            rows = order[starts[number] : starts[number + 1]]
            boxes: dict[Hashable, list[list[float]]] = {}
            for row, box in zip(rows.tolist(), edges[rows].tolist(), strict=True):
                boxes.setdefault(names[self._class[row]], []).append(box)
            yield image, Found(boxes, self._flaws.get(number))


class Found:
    """What a file says of one image.

    Attributes:
        boxes: by class, as the file calls it.
        flaw: why they are not to be used, or None.
    """

    __slots__ = ("boxes", "flaw")

    def __init__(self, boxes: dict[Hashable, list[list[float]]], flaw: Reject | None) -> None:
        self.boxes = boxes
        self.flaw = flaw

    @property
    def count(self) -> int:
        """How many boxes there are."""
        return sum(map(len, self.boxes.values()))

    def truth(self, names: Mapping[Hashable, str | Reject]) -> dict[str, Any]:
        """The truth of the image.

        Args:
            names: of the classes; two that have the same name are one class.

        Raises:
            Reject: there is a flaw, no box, or a class without a name.
        """
        if self.flaw is not None:
            raise Reject(self.flaw.reason, self.flaw.message)
        if not self.boxes:
            raise Reject("no-object", "the image has no box")
        by_name: dict[str, list[list[float]]] = {}
        for called, boxes in self.boxes.items():
            name = names.get(called)
            if name is None:
                raise Reject("annotation-shape", f"the class {short(called)} is not among the classes of the dataset")
            if isinstance(name, Reject):
                raise Reject(name.reason, name.message)
            by_name.setdefault(name, []).extend(boxes)
        return truth_of(by_name)
