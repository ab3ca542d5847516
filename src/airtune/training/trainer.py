"""``transformers.Trainer`` with what it gets wrong for vision-language models put right.

Overridden, and nothing else: the loss (label positions only, weighted by tokens over the whole effective batch), the
order of samples (from seed and epoch alone), the schedule (closed form), evaluation (token-weighted, leaves random
states alone), checkpoints (atomic), and the answer to a loss that is no longer a number (stop).
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from transformers import PrinterCallback, Trainer, TrainingArguments

from airtune.errors import DefectError, DivergedError, Problem
from airtune.modeling.vision_features import PictureEncoder
from airtune.runspec.resolved import ResolvedRun
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory
from airtune.training import checkpoints
from airtune.training.attempts import Attempts
from airtune.training.batching import Batching
from airtune.training.flow import Flow
from airtune.training.journal import Journal
from airtune.training.loss import summed_loss
from airtune.training.mirror import Mirror
from airtune.training.optimization import optimizer_and_settings, scheduler
from airtune.training.pace import Pace
from airtune.training.remedies import Remedies
from airtune.training.rows import Row
from airtune.training.samples import FAILURE, ROWS, SAMPLE_IDS, TOKENS, Batches, EpochOrder, Samples
from airtune.training.scores import Scores
from airtune.training.stopping import StopRequest, evaluations_without_gain
from airtune.training.weights import load_trained, save_trained_weights

_STATE: Final = "trainer_state.json"

_MOST_SKIPPED_STEPS: Final = 25
"""The gradient scaler of Float16 starts at 2**16 and halves at each overflow: after so many in a row it is at 0."""


@dataclass
class Surroundings:
    """What the trainer works with beside model and data.

    Attributes:
        directory: the run directory.
        pace: writes one row of metrics a logging step.
        evaluations: one row an evaluation.
        mirror: copies to a remote store.
        stop: whether the process was told to stop.
        say: where lines go.
        remedies: how batches are cut up, and what is done when memory runs out.
        scores: generates and scores answers, where early stopping goes by them.
    """

    directory: RunDirectory
    pace: Pace
    evaluations: Journal
    mirror: Mirror
    stop: StopRequest
    say: Callable[[str], None]
    remedies: Remedies
    scores: Scores | None = None


class VisionLanguageTrainer(Trainer):  # type: ignore[misc]
    """Trains one model as a resolved run says.

    Args:
        model: with adapters (LoRA) or in float32 (SFT).
        run: the resolved run.
        arguments: see :func:`airtune.training.optimization.training_arguments`.
        train: the samples to train.
        validation: the samples to validate, may be empty.
        batches: makes batches.
        seeing: encodes pictures outside the model's forward, where its vision tower is frozen and it takes features.
        around: everything else.
    """

    lr_scheduler: Any
    control: Any

    def __init__(
        self,
        model: Any,
        run: ResolvedRun,
        arguments: TrainingArguments,
        *,
        train: Samples,
        validation: Samples,
        batches: Batches,
        around: Surroundings,
        seeing: PictureEncoder | None = None,
    ) -> None:
        self.run = run
        self.around = around
        self.stop = around.stop
        self._seeing = seeing
        self.has_validation = len(validation) > 0
        self.order = EpochOrder(len(train), run.seed, shuffle=run.shuffle)
        self._skipped_steps = 0
        self._ids: list[str] = []
        self.pass_tokens = 0
        self._attempts = Attempts(self)
        super().__init__(
            model=model,
            args=arguments,
            data_collator=batches,
            train_dataset=train,
            eval_dataset=validation,
            optimizer_cls_and_kwargs=optimizer_and_settings(run, arguments.device),
        )
        self.steps_per_epoch = math.ceil(len(train) / (run.batch_size * run.gradient_accumulation))
        self.remove_callback(PrinterCallback)
        self.add_callback(Flow(self))
        self.add_callback(self._attempts)
        self.use(around.remedies.batching)

    def fit(self, total: int, resumed: int, checkpoint: Path | None) -> None:
        """Trains to the end, or until told to stop or no longer getting better.

        Args:
            total: steps of the whole run, as it was planned.
            resumed: steps that the checkpoint has behind it.
            checkpoint: where to begin, or None at the start.

        Raises:
            DefectError: the loop would take another number of steps.
        """
        if total != self.run.epochs * self.steps_per_epoch:
            raise DefectError(Problem("steps", f"{total} were planned, {self.run.epochs * self.steps_per_epoch} come"))
        self.around.pace.begin()
        self._attempts.train(resumed, checkpoint)
        best = self.best_step()
        if best is not None and best != self.state.global_step and not self.stop:
            load_trained(self.model, self.around.directory.workspace / layout.checkpoint(best))
            self.around.say(f"the weights of step {best} are kept: they had the best {self._goal}")

    def begin_at(self, resumed: int) -> None:
        """An attempt begins after so many steps; one that was killed before their evaluation begins with that."""
        self.optimizer = self.lr_scheduler = None  # made anew, or loaded from the checkpoint
        boundary = resumed > 0 and resumed % self.steps_per_epoch == 0
        self.args.eval_on_start = boundary and self.has_validation and not self.around.evaluations.has(resumed)

    def use(self, batching: Batching) -> None:
        """Cuts effective batches up like this from the next attempt on."""
        self.args.per_device_train_batch_size = self.args.per_device_eval_batch_size = batching.batch_size
        self.args.gradient_accumulation_steps = batching.accumulation
        self._train_batch_size = self.state.train_batch_size = self.args.train_batch_size
        if batching.checkpointing and not self.run.gradient_checkpointing:
            self.model.activation_checkpointing_enable({"use_reentrant": False})

    def _waited_long_enough(self) -> bool:
        patience = self.run.early_stopping_patience
        costs = [self._cost(row) for row in self.around.evaluations.rows]
        return patience is not None and evaluations_without_gain(costs) >= patience

    @property
    def _goal(self) -> str:
        metric = self.run.early_stopping_metric
        return "validation loss" if metric == "loss" else metric

    def _cost(self, evaluation: dict[str, Any]) -> float:
        """What has to fall for the run to get better: the validation loss, or a score of answers turned round."""
        metric = self.run.early_stopping_metric
        return float(evaluation[metric]) * (1 if metric == "loss" else -1)

    # ---- the loss -----------------------------------------------------------------------------------------------

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """The micro-batches of one step with the number of label tokens in all of them, on all devices."""
        batches = list(itertools.islice(epoch_iterator, num_batches))
        self._ids = []
        labels = torch.zeros((), dtype=torch.long, device=device)
        for batch in batches:
            if FAILURE in batch:
                raise batch[FAILURE]
            self._ids += batch[SAMPLE_IDS]
            self.state.num_input_tokens_seen += batch[TOKENS]
            labels += sum(len(row.targets) for row in batch[ROWS])
        return batches, self.accelerator.reduce(labels, reduction="sum")

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward of one micro-batch, row by row.

        Each row's summed token losses are divided by the label tokens of the whole effective batch: the Qwen and
        Gemma families would weigh micro-batches alike instead, and an update would depend on how it was cut up.
        Gradients of several devices are averaged, hence the factor.

        Returns:
            This micro-batch's share of the loss.
        """
        model.train()
        rows = inputs[ROWS]
        loss = torch.zeros((), device=self.args.device)
        for number, row in enumerate(rows, start=1):
            # Devices exchange gradients after the last row of the last micro-batch; the loop sees to the latter.
            waiting = self.accelerator.no_sync(model) if number < len(rows) else contextlib.nullcontext()
            self.pass_tokens = row.tokens
            with waiting:
                share = self._row_loss(model, row) / num_items_in_batch * self.accelerator.num_processes
                self.accelerator.backward(share)
            loss += share.detach()
        return loss

    def _row_loss(self, model: Any, row: Row) -> torch.Tensor:
        row = row.to(self.args.device)
        if self._seeing is not None:
            row = row.encoded(self._seeing)
        with self.compute_loss_context_manager():
            return summed_loss(model, row)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The gradient's norm before clipping; the loop asks for it before each update, so this is where to stop."""
        norm = super()._get_grad_norm(model, grad_norm)
        loss_finite, norm_finite = bool(torch.isfinite(self._tr_loss)), bool(torch.isfinite(torch.as_tensor(norm)))
        scaled = self.accelerator.scaler is not None
        self._skipped_steps = 0 if norm_finite else self._skipped_steps + 1
        if not loss_finite or (not norm_finite and (not scaled or self._skipped_steps > _MOST_SKIPPED_STEPS)):
            raise self._diverged("the loss" if not loss_finite else "the gradient's norm")
        return norm

    def _diverged(self, what: str) -> DivergedError:
        step = self.state.global_step + 1
        return DivergedError(
            Problem(
                f"training step {step}",
                f"{what} is no longer a number; the step was not taken and the last checkpoint is kept. "
                f"Samples of the step: {', '.join(self._ids[:32])}",
                fix="lower learningRate by 2 to 5 times"
                + ("; or use BFloat16 or Float32 instead of Float16" if self.run.precision == "Float16" else ""),
            )
        )

    # ---- order, schedule, precision -----------------------------------------------------------------------------

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:
        del train_dataset
        return self.order

    def _run_epoch(self, **arguments: Any) -> None:
        if self._waited_long_enough():  # killed after the evaluation that ended it, or just before
            self.control.should_training_stop = True
            return
        self.order.set_epoch(arguments["epoch"])
        super()._run_epoch(**arguments)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The learning rate's schedule over the whole run."""
        if self.lr_scheduler is None:
            self.lr_scheduler = scheduler(self.run, optimizer or self.optimizer, num_training_steps)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def create_accelerator_and_postprocess(self) -> None:
        """Accelerate's set-up, and what it leaves out silently: Float16 on the CPU."""
        super().create_accelerator_and_postprocess()
        if self.run.precision == "Float16" and self.accelerator.device.type == "cpu":
            self.accelerator.native_amp = True
            self.accelerator.scaler = torch.amp.GradScaler("cpu")

    # ---- what is written while it runs --------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """One row of metrics; the library's own history would make every checkpoint longer than the one before."""
        del start_time
        if "loss" in logs:
            self.around.pace.write(logs, self.state)
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, logs)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: the library walks through all modules for it, at every micro-batch."""
        del inputs
        return 0

    # ---- evaluation ---------------------------------------------------------------------------------------------

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The validation loss: mean cross entropy over all label tokens of the split.

        No logits are kept, and no random state is touched, so a run evaluates or not and trains the same.
        """
        del args, kwargs
        samples, size = self.eval_dataset, self.args.eval_batch_size
        loss, tokens = 0.0, 0
        self.model.eval()
        with torch.no_grad():
            for start in range(0, len(samples), size):
                self._pause_in_evaluation()
                batch = self.data_collator([samples[index] for index in range(start, min(start + size, len(samples)))])
                if FAILURE in batch:
                    raise batch[FAILURE]
                for row in batch[ROWS]:
                    loss += float(self._row_loss(self.model, row))
                    tokens += len(row.targets)
        scores = self.around.scores(self._pause_in_evaluation) if self.around.scores is not None else {}
        self.model.train()
        metrics = {"eval_loss": loss / max(tokens, 1)}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self._after_evaluation(metrics["eval_loss"], scores)
        return metrics

    def _after_evaluation(self, loss: float, scores: dict[str, float]) -> None:
        if not math.isfinite(loss):
            raise DivergedError(
                Problem(f"validation after step {self.state.global_step}", "the loss is not a number",
                        fix="lower learningRate by 2 to 5 times")
            )  # fmt: skip
        evaluations, step = self.around.evaluations, self.state.global_step
        evaluations.write({"step": step, "epoch": round(float(self.state.epoch or 0), 4), "loss": loss, **scores})
        said = "".join(f", {name} {value:.4f}" for name, value in scores.items())
        self.around.say(f"epoch {self.state.epoch:g}: validation loss {loss:.4f}{said}")
        if self.best_step() == step:
            self.control.should_save = True  # the best weights so far are what the run may end with
        if self._waited_long_enough():
            self.around.say(f"no better {self._goal} for {self.run.early_stopping_patience} epochs: training ends")
            self.control.should_training_stop = True

    def best_step(self) -> int | None:
        """The step with the best validation loss, or score, when the run may end with it."""
        rows = self.around.evaluations.rows
        if self.run.early_stopping_patience is None or not rows:
            return None
        return int(min(rows, key=lambda row: (self._cost(row), row["step"]))["step"])

    def stop_before_the_first_step(self) -> None:
        """Ends the process when it was told to stop and this attempt has trained nothing yet.

        Raises:
            PreemptedError: it was told to stop.
        """
        if self.stop:
            step = self.state.global_step
            self.stop.obey(f"the checkpoint of step {step} is the newest" if step else "nothing was lost")

    def _pause_in_evaluation(self) -> None:
        """Where an evaluation can be left when the run is told to stop; it is done again when the run resumes."""
        if not self.stop:
            return
        self.save_now()
        self.stop.obey(f"checkpoint of step {self.state.global_step} saved")

    # ---- checkpoints --------------------------------------------------------------------------------------------

    def save_now(self) -> None:
        """Writes a checkpoint of the latest step."""
        self._save_checkpoint(self.model, None)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Weights that are trained, optimizer, schedule, scaler, random states and position: whole or not at all."""
        del model, trial
        step = self.state.global_step
        with checkpoints.sealed(self.around.directory, step) as folder:
            save_trained_weights(self.model, folder)
            self._save_optimizer_and_scheduler(str(folder))
            self._save_scaler(str(folder))
            self._save_rng_state(str(folder))
            self.state.save_to_json(str(folder / _STATE))
        self.around.mirror.checkpoint(step)
        best = self.best_step()
        kept = frozenset() if best is None else frozenset([best])
        for gone in checkpoints.rotate(self.around.directory, keep=self.run.checkpoints_kept, protect=kept):
            self.around.mirror.remove(gone)
        self.around.say(f"checkpoint of step {step} saved")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Puts the trained weights of a checkpoint into the model: all of them, or none."""
        del model
        load_trained(self.model, Path(resume_from_checkpoint))
