"""What a prediction is worth by its task, and what a set of predictions is worth.

Every metric here is better when larger, so that the gate can compare any of them. Answers that cannot be read
count with the worst score; none is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from airtune.evaluation.box_metrics import f1, score_groundings
from airtune.evaluation.predictions import Prediction
from airtune.evaluation.text_metrics import exact_match, token_f1
from airtune.runspec.answers import Answer
from airtune.runspec.tasks import Task

PRIMARY: Final[Mapping[Task, str]] = {
    Task.VQA: "exact_match",
    Task.PHRASE_GROUNDING: "f1_50",
    Task.FREEFORM: "token_f1",
    Task.VIDEO_FREEFORM: "token_f1",
    Task.GENERIC: "token_f1",
}
"""The metric by which a model of a task is promoted."""

_TEXT_KEY: Final[Mapping[Task, str]] = {Task.VQA: "answer", Task.GENERIC: "text"}
_RIGHT: Final = 0.999999


def score(task: Task, truth: Mapping[str, Any], answer: Answer) -> dict[str, float]:
    """The scores of one sample.

    For phrase-grounding: ``iou`` (0..1), ``hits``, ``true_boxes`` and ``predicted_boxes``
    (:class:`airtune.evaluation.box_metrics.BoxScore`) and ``exact_match`` of the sentence; for the other tasks
    ``exact_match`` and ``token_f1`` (0..1).
    """
    if task is Task.PHRASE_GROUNDING:
        said = answer.parsed or {"sentence": "", "groundings": []}
        boxes = score_groundings(truth["groundings"], said["groundings"])
        return {
            "iou": boxes.iou,
            "hits": boxes.hits,
            "true_boxes": boxes.true_boxes,
            "predicted_boxes": boxes.predicted_boxes,
            "exact_match": exact_match(truth["sentence"], said["sentence"]) if answer.parsed else 0.0,
        }
    key = _TEXT_KEY.get(task, "caption")
    if answer.parsed is None:
        return {"exact_match": 0.0, "token_f1": 0.0}
    return {
        "exact_match": exact_match(truth[key], answer.parsed[key]),
        "token_f1": token_f1(truth[key], answer.parsed[key]),
    }


def is_right(task: Task, scores: Mapping[str, float]) -> bool:
    """Whether a sample counts as answered: the exact answer, or for phrase-grounding every box found and none more."""
    if task is Task.PHRASE_GROUNDING:
        return scores["hits"] == scores["true_boxes"] == scores["predicted_boxes"]
    return scores["exact_match"] >= _RIGHT


def changes(task: Task, pairs: Iterable[tuple[Prediction, Prediction]]) -> dict[str, int]:
    """What training changed, in samples: ``fixed``, ``broken``, ``both_right`` and ``both_wrong``.

    Args:
        task: what the model does.
        pairs: the trained and the base model's greedy answer to each sample.
    """
    counts = {"fixed": 0, "broken": 0, "both_right": 0, "both_wrong": 0}
    for tuned, base in pairs:
        after, before = is_right(task, tuned.scores), is_right(task, base.scores)
        counts[("both_right" if before else "fixed") if after else ("broken" if before else "both_wrong")] += 1
    return counts


def summarise(task: Task, rows: Sequence[Prediction]) -> dict[str, float]:
    """The scores of a set of predictions.

    All tasks: ``samples``, ``parse_rate``, ``cut_off_rate`` and ``mean_tokens``. Phrase-grounding: ``mean_iou`` (mean
    of the samples' ``iou``), ``f1_50`` (over all boxes of all samples together) and ``exact_match`` of the sentences;
    the other tasks ``exact_match`` and ``token_f1``, means over the samples.

    Raises:
        ValueError: there are no rows; a mean of nothing would be a made-up number.
    """
    if not rows:
        raise ValueError("nothing to summarise")
    summary: dict[str, float] = {"samples": len(rows)}
    if task is Task.PHRASE_GROUNDING:
        summary["mean_iou"] = _mean(row.scores["iou"] for row in rows)
        hits, true_boxes, predicted_boxes = (
            round(sum(row.scores[name] for row in rows)) for name in ("hits", "true_boxes", "predicted_boxes")
        )
        summary["f1_50"] = f1(hits, true_boxes, predicted_boxes)
        summary["exact_match"] = _mean(row.scores["exact_match"] for row in rows)
    else:
        summary["exact_match"] = _mean(row.scores["exact_match"] for row in rows)
        summary["token_f1"] = _mean(row.scores["token_f1"] for row in rows)
    summary["parse_rate"] = _mean(float(row.answer is not None) for row in rows)
    summary["cut_off_rate"] = _mean(float(row.cut_off) for row in rows)
    summary["mean_tokens"] = _mean(row.tokens for row in rows)
    return summary


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
