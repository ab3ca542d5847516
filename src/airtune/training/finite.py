"""A loss or a gradient that is no longer a number ends a run before the update that would spoil its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch

from airtune.errors import DivergedError, Problem
from airtune.runspec.resolved import ResolvedRun
from airtune.training import ranks

_MOST_SKIPPED_STEPS: Final = 25
"""The gradient scaler of Float16 starts at 2**16 and halves at each overflow: after so many in a row it is at 0."""

_MOST_NAMED: Final = 32


class Finite:
    """Holds the numbers of every step against being numbers; all processes ask at the same place.

    Args:
        run: the resolved run, for the remedy.
    """

    def __init__(self, run: ResolvedRun) -> None:
        self._run = run
        self._skipped = 0

    def check(self, loss: torch.Tensor, norm: torch.Tensor, *, step: int, ids: Sequence[str], scaled: bool) -> None:
        """Before the update of a step.

        Args:
            loss: this process's share of the step's loss.
            norm: of the whole gradient, before clipping.
            step: the one that is about to be taken.
            ids: this process's samples of it.
            scaled: whether gradients are scaled (Float16), so that a step whose gradient overflows is left out.

        Raises:
            DivergedError: the loss of some process is not a number; or the norm is not, where nothing is scaled or
                too many steps in a row were left out.
        """
        loss_broken, norm_broken = ranks.agree(not bool(torch.isfinite(loss)), not bool(torch.isfinite(norm)))
        self._skipped = self._skipped + 1 if norm_broken else 0
        if loss_broken or (norm_broken and (not scaled or self._skipped > _MOST_SKIPPED_STEPS)):
            raise self._diverged("the loss" if loss_broken else "the gradient's norm", step, ids)

    def _diverged(self, what: str, step: int, ids: Sequence[str]) -> DivergedError:
        names = [name for each in ranks.gathered(list(ids)) for name in each]
        error = DivergedError(
            Problem(
                f"training step {step}",
                f"{what} is no longer a number; the step was not taken and the last checkpoint is kept. "
                f"Samples of the step: {', '.join(names[:_MOST_NAMED])}",
                fix="lower learningRate by 2 to 5 times"
                + ("; or use BFloat16 or Float32 instead of Float16" if self._run.precision == "Float16" else ""),
            )
        )
        error.shared = not ranks.is_main()
        return error
