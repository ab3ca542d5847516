"""How well boxes lie on boxes: intersection over union and F1, matched phrase by phrase.

A box is ``[xmin, ymin, xmax, ymax]`` in any one unit; airtune's are integers in 0..1024 on each axis. Because
both axes are scaled alike for truth and prediction, the intersection over union is that of the pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from airtune.answering.text_metrics import normalise

Box = Sequence[float]

HIT: Final = 0.5
"""A predicted box finds a true one from this intersection over union on."""


@dataclass(frozen=True, slots=True)
class BoxScore:
    """How one sample's boxes compare.

    Attributes:
        true_boxes: boxes of the truth.
        predicted_boxes: boxes of the prediction.
        hits: pairs of one true and one predicted box of the same phrase with an intersection over union of at
            least :data:`HIT`, as many as can be formed.
        iou: sum over the true boxes of the intersection over union with the predicted box that the best
            assignment gives them (0 where there is none), divided by the number of true boxes.
    """

    true_boxes: int
    predicted_boxes: int
    hits: int
    iou: float


def intersection_over_union(first: Box, second: Box) -> float:
    """Area of the overlap divided by the area of both together, in 0..1; 0.0 for boxes without an area."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (_area(first) + _area(second) - shared)


def score_groundings(truth: Iterable[Mapping[str, Any]], said: Iterable[Mapping[str, Any]]) -> BoxScore:
    """Compares groundings (``{"phrase": str, "boxes": [...]}``) of the same sample.

    Phrases are the same when their normalised texts are (:func:`airtune.answering.text_metrics.normalise`); the
    boxes of a phrase that occurs twice are put together. Within a phrase no box is used twice: the hits are counted
    in the assignment that forms the most of them, the intersections over union in the one with the largest sum. A
    predicted box of a phrase that the truth does not have hits nothing.
    """
    expected, found = _by_phrase(truth), _by_phrase(said)
    hits, total = 0, 0.0
    for phrase, boxes in expected.items():
        ious = [[intersection_over_union(box, other) for other in found.get(phrase, ())] for box in boxes]
        hits += _hits(ious)
        total += _best_sum(ious)
    true_boxes = sum(map(len, expected.values()))
    predicted_boxes = sum(map(len, found.values()))
    iou = total / true_boxes if true_boxes else float(predicted_boxes == 0)
    return BoxScore(true_boxes, predicted_boxes, hits, iou)


def f1(hits: int, true_boxes: int, predicted_boxes: int) -> float:
    """Harmonic mean of precision and recall of the hits, in 0..1; 1.0 when there are no boxes at all."""
    together = true_boxes + predicted_boxes
    return 2 * hits / together if together else 1.0


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _by_phrase(groundings: Iterable[Mapping[str, Any]]) -> dict[str, list[Box]]:
    boxes: dict[str, list[Box]] = {}
    for grounding in groundings:
        boxes.setdefault(normalise(grounding["phrase"]), []).extend(grounding["boxes"])
    return boxes


def _hits(ious: list[list[float]]) -> int:
    found = [[float(iou >= HIT) for iou in row] for row in ious]
    return round(_best_sum(found))


def _best_sum(gains: list[list[float]]) -> float:
    """The largest sum of gains when each row and each column is used at most once."""
    if not gains or not gains[0]:
        return 0.0
    if len(gains) == 1:
        return max(gains[0])
    from scipy.optimize import linear_sum_assignment  # 0.3 s to import: only several boxes of one phrase need it

    rows, columns = linear_sum_assignment(gains, maximize=True)
    return float(sum(gains[row][column] for row, column in zip(rows, columns, strict=True)))
