"""When to log, evaluate, save and stop: asked by the loop after each step and epoch."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

from transformers import TrainerCallback

from airtune.training import ranks

if TYPE_CHECKING:
    from airtune.training.trainer import VisionLanguageTrainer

MOST_ROWS: Final = 2000
"""About so many rows of metrics a run writes: each step for a short run, every so many steps for a long one."""


class Flow(TrainerCallback):  # type: ignore[misc]
    """Sets the loop's flags.

    Args:
        trainer: whose run decides.
    """

    def __init__(self, trainer: VisionLanguageTrainer) -> None:
        self._trainer = trainer
        self._saved_at = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """After each optimizer step."""
        del args, kwargs
        trainer, run = self._trainer, self._trainer.run
        every = run.checkpoint_every_steps
        minutes = run.checkpoint_every_minutes
        due = minutes is not None and time.monotonic() - self._saved_at >= 60 * minutes
        stop = trainer.stop.ask()
        if minutes is not None:
            (due,) = ranks.agree(due)  # clocks differ, and a checkpoint is made by all processes or by none
        if (every is not None and state.global_step % every == 0) or due or stop:
            control.should_save = True
        if stop:
            control.should_training_stop = True
        rows_every = math.ceil(state.max_steps / MOST_ROWS)
        if stop or state.global_step % rows_every == 0 or state.global_step >= state.max_steps:
            control.should_log = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After a checkpoint."""
        del args, state, control, kwargs
        self._saved_at = time.monotonic()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """After an epoch, or after the step in which the run was told to stop."""
        del args, kwargs
        whole = state.global_step % self._trainer.steps_per_epoch == 0
        if whole and not self._trainer.stop and self._trainer.has_validation:
            control.should_evaluate = True
        return control
