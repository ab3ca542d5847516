"""What an answer is worth by its task, and what a set of answers is worth.

Every metric here is better when larger, so that the gate can compare any of them. Answers that cannot be read
count with the worst score; none is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from airtune.answering.box_metrics import f1, score_groundings
from airtune.answering.text_metrics import exact_match, token_f1
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

METRICS: Final[Mapping[Task, tuple[str, ...]]] = {
    task: ("f1_50", "mean_iou", "exact_match") if task is Task.PHRASE_GROUNDING else ("exact_match", "token_f1")
    for task in Task
}
"""The scores of :func:`summarise` that say how good the answers of a task are."""

_TEXT_KEY: Final[Mapping[Task, str]] = {Task.VQA: "answer", Task.GENERIC: "text"}
_RIGHT: Final = 0.999999


class Answered(Protocol):
    """An answer with its scores."""

    @property
    def scores(self) -> Mapping[str, float]:
        """See :func:`score`."""

    @property
    def answer(self) -> Mapping[str, Any] | None:
        """What was read from the text, or None when it cannot be read."""

    @property
    def tokens(self) -> int:
        """How many tokens the answer has."""

    @property
    def cut_off(self) -> bool:
        """Whether it ended only because it reached the allowed length."""


def score(task: Task, truth: Mapping[str, Any], answer: Answer) -> dict[str, float]:
    """The scores of one sample.

    For phrase-grounding: ``iou`` (0..1), ``hits``, ``true_boxes`` and ``predicted_boxes``
    (:class:`airtune.answering.box_metrics.BoxScore`) and ``exact_match`` of the sentence; for the other tasks
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


def summarise(task: Task, rows: Sequence[Answered]) -> dict[str, float]:
    """The scores of a set of answers.

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
