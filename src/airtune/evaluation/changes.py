"""What training changed: the trained model's answers against the base model's."""

from __future__ import annotations

from collections.abc import Iterable

from airtune.answering.scoring import is_right
from airtune.evaluation.predictions import Prediction
from airtune.runspec.tasks import Task


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
