"""Which validation of a run was its best one, and whether the run has waited long enough for a better one."""

from __future__ import annotations

from typing import Any, Final

from airtune.runspec.resolved import ResolvedRun
from airtune.training.journal import Journal
from airtune.training.stopping import evaluations_without_gain

_LOSS: Final = "loss"


class Best:
    """Looks back at the evaluations of a run, in the way its ``earlyStoppingMetric`` asks for.

    Args:
        run: the resolved run.
        evaluations: one row an evaluation, with ``step``, ``loss`` and the scores of answers where they count.
    """

    def __init__(self, run: ResolvedRun, evaluations: Journal) -> None:
        self._run = run
        self._evaluations = evaluations

    @property
    def goal(self) -> str:
        """What has to get better, in words."""
        metric = self._run.early_stopping_metric
        return "validation loss" if metric == _LOSS else metric

    def step(self) -> int | None:
        """The step with the best validation loss, or score, when the run may end with it; the earliest of equals."""
        rows = self._evaluations.rows
        if self._run.early_stopping_patience is None or not rows:
            return None
        return int(min(rows, key=lambda row: (self._cost(row), row["step"]))["step"])

    def waited_long_enough(self) -> bool:
        """Whether so many evaluations brought nothing better that the run ends."""
        patience = self._run.early_stopping_patience
        costs = [self._cost(row) for row in self._evaluations.rows]
        return patience is not None and evaluations_without_gain(costs) >= patience

    def _cost(self, evaluation: dict[str, Any]) -> float:
        """What has to fall for the run to get better: the validation loss, or a score of answers turned round."""
        metric = self._run.early_stopping_metric
        return float(evaluation[metric]) * (1 if metric == _LOSS else -1)
