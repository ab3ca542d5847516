"""One attempt after another until a run fits the memory: each goes on from where the one before stood."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from airtune.errors import PreemptedError, Problem
from airtune.stores import layout
from airtune.training.out_of_memory import first_line, give_back, is_out_of_memory
from airtune.training.random_states import RandomStates

if TYPE_CHECKING:
    from airtune.training.trainer import VisionLanguageTrainer


class Attempts(TrainerCallback):  # type: ignore[misc]
    """Trains; where memory runs out, takes the next remedy and goes on.

    Memory that runs out before the first step (in the probe, as a rule) costs nothing but the probe. In the middle of
    a run the weights are those of the step before, unless it happened inside the update itself: they become a
    checkpoint, and training resumes from it with smaller pieces. Where that cannot be done (inside the update, or on
    several devices, of which the others wait in an exchange) the process ends with the exit code after which the
    scheduler tries again, and the next try begins with the smaller pieces from the newest checkpoint.

    Args:
        trainer: whose loop it is.
    """

    def __init__(self, trainer: VisionLanguageTrainer) -> None:
        self._trainer = trainer
        self._before_step: RandomStates | None = None
        self._updating = False
        self._tokens = 0

    def train(self, resumed: int, checkpoint: Path | None) -> None:
        """Trains from a checkpoint, or from the beginning.

        Args:
            resumed: steps that the checkpoint has behind it.
            checkpoint: its folder; None at the beginning.

        Raises:
            GpuMemoryError: the run does not fit, whatever was tried.
            PreemptedError: memory ran out where only another process can go on.
        """
        trainer = self._trainer
        begun = RandomStates.now()
        while True:
            trainer.begin_at(resumed)
            said = self._attempt(checkpoint)
            if said is None:
                return
            give_back()
            step = trainer.state.global_step if trainer.state.global_step > resumed else resumed
            alone = step > resumed or self._before_step is not None  # of the probe all processes know
            when, remedies = self._when(step), trainer.around.remedies
            trainer.use(remedies.take(when, said, trainer.pass_tokens, alone=alone))
            if self._updating or (alone and trainer.args.world_size > 1):
                raise PreemptedError(
                    Problem(f"training {when}", "memory ran out where this process cannot go on by itself",
                            fix=f"try again: it resumes from the newest checkpoint with {remedies.batching}")
                )  # fmt: skip
            if step > resumed:
                resumed, checkpoint = step, self._checkpoint(step)
            begun.put_back()  # a checkpoint brings its own

    def _attempt(self, checkpoint: Path | None) -> str | None:
        """What the allocator said when memory ran out; None when training has ended."""
        try:
            self._trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint is not None else None)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return first_line(error)
        return None

    def _when(self, step: int) -> str:
        return f"step {step + 1}" if self._before_step is not None else f"before step {step + 1}"

    def _checkpoint(self, step: int) -> Path:
        trainer = self._trainer
        if self._before_step is not None:
            self._before_step.put_back()
        trainer.state.num_input_tokens_seen = self._tokens
        trainer.model.zero_grad(set_to_none=True)
        trainer.save_now()
        return trainer.around.directory.workspace / layout.checkpoint(step)

    # ---- what the loop tells -------------------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An attempt begins."""
        del args, control, kwargs
        self._before_step, self._updating, self._tokens = None, False, state.num_input_tokens_seen

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A step's first pass comes next."""
        del args, state, control, kwargs
        self._before_step = RandomStates.now()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The weights are about to change."""
        del args, state, control, kwargs
        self._updating = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """They have changed."""
        del args, control, kwargs
        self._before_step, self._updating, self._tokens = None, False, state.num_input_tokens_seen
