"""After an epoch: the validation loss, the scores of real answers where they decide, and what follows from them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from airtune.errors import AirtuneError, DivergedError, Problem
from airtune.training import ranks
from airtune.training.validation import validation_loss

if TYPE_CHECKING:
    from airtune.training.trainer import VisionLanguageTrainer


class _ToldToStopError(Exception):
    """This process was told to stop while it answered; the others do not know yet."""


class Validating:
    """Validates a model while it trains; all processes call it at the same place.

    Args:
        trainer: whose model, samples and surroundings these are.
    """

    def __init__(self, trainer: VisionLanguageTrainer) -> None:
        self._trainer = trainer

    def __call__(self) -> float:
        """Validates, writes one row of ``training/evaluations.jsonl`` and tells the loop to save or to end.

        Returns:
            The validation loss.

        Raises:
            DivergedError: the loss is not a number.
            PreemptedError: told to stop; a checkpoint was saved.
            AirtuneError: a sample cannot be read, or not answered; in all processes alike.
        """
        trainer = self._trainer
        trainer.model.eval()
        loss = validation_loss(
            trainer.eval_dataset,
            size=trainer.args.eval_batch_size,
            collate=trainer.data_collator,
            loss_of=lambda row: trainer.row_loss(trainer.model, row),
            pause=self._pause,
            in_step=trainer.is_fsdp_enabled,
        )
        scores = self._scores()
        trainer.model.train()
        self._note(loss, scores)
        return loss

    def _scores(self) -> dict[str, float]:
        """Of the first process, for all: drawn on two devices, answers may differ in a bit and part ways.

        The others wait for it. So what ends the first one while it answers, ends all of them.
        """
        scores = self._trainer.around.scores
        if scores is None:
            return {}
        found: dict[str, float] = {}
        failure: AirtuneError | None = None
        if ranks.is_main():
            try:
                found = scores(self._leave)
            except _ToldToStopError:
                found = {}
            except AirtuneError as error:
                failure = error
        ranks.raise_together(failure)
        self._pause()
        return ranks.told_by_main(found)

    def _note(self, loss: float, scores: dict[str, float]) -> None:
        trainer, around = self._trainer, self._trainer.around
        step, best = trainer.state.global_step, trainer.best
        if not math.isfinite(loss):
            raise DivergedError(
                Problem(f"validation after step {step}", "the loss is not a number",
                        fix="lower learningRate by 2 to 5 times")
            )  # fmt: skip
        row = {"step": step, "epoch": round(float(trainer.state.epoch or 0), 4), "loss": loss, **scores}
        around.evaluations.write(row)
        said = "".join(f", {name} {value:.4f}" for name, value in scores.items())
        around.say(f"epoch {trainer.state.epoch:g}: validation loss {loss:.4f}{said}")
        if best.step() == step:
            trainer.control.should_save = True  # the best weights so far are what the run may end with
        if best.waited_long_enough():
            around.say(f"no better {best.goal} for {trainer.run.early_stopping_patience} epochs: training ends")
            trainer.control.should_training_stop = True

    def _leave(self) -> None:
        """Where the first process can stop answering; what follows is agreed on afterwards."""
        if self._trainer.stop.noticed:
            raise _ToldToStopError

    def _pause(self) -> None:
        """Where a validation can be left when the run is told to stop; it is done again when the run resumes."""
        trainer = self._trainer
        if not trainer.stop.ask():
            return
        trainer.save_now()
        trainer.stop.obey(f"checkpoint of step {trainer.state.global_step} saved")
