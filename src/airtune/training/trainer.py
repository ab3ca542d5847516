"""``transformers.Trainer`` with what it gets wrong for vision-language models put right.

Overridden, and nothing else: the loss (label positions only, weighted by tokens over the whole effective batch), the
order of samples (from seed and epoch alone), the schedule (closed form), evaluation (token-weighted, leaves random
states alone), checkpoints (atomic), and the answer to a loss that is no longer a number (stop).
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch.utils.data import DataLoader
from transformers import PrinterCallback, TrainingArguments

from airtune.catalog.registry import entry_of
from airtune.errors import DefectError, DivergedError, Problem
from airtune.modeling.vision_features import PictureEncoder
from airtune.runspec.resolved import ResolvedRun
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory
from airtune.training import checkpoints, gradients, ranks, sharding
from airtune.training.attempts import Attempts
from airtune.training.batching import Batching
from airtune.training.checkpointed import CheckpointedTrainer
from airtune.training.flow import Flow
from airtune.training.journal import Journal
from airtune.training.loss import summed_loss
from airtune.training.mirror import Mirror
from airtune.training.optimization import optimizer_and_settings, scheduler
from airtune.training.order import EpochOrder, MicroBatches
from airtune.training.pace import Pace
from airtune.training.remedies import Remedies
from airtune.training.rows import Row
from airtune.training.samples import FAILURE, ROWS, SAMPLE_IDS, TOKENS, Batches, Samples
from airtune.training.scores import Scores
from airtune.training.stopping import StopRequest, evaluations_without_gain
from airtune.training.validation import in_step_with_others, validation_loss
from airtune.training.weights import load_trained

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


class VisionLanguageTrainer(CheckpointedTrainer):
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
        self.order = EpochOrder(
            [record.shown for record in train.records],
            run.seed,
            together=run.effective_batch,
            shuffle=run.shuffle,
        )
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
        self.steps_per_epoch = math.ceil(len(train) / run.effective_batch)
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
        self.data_collator.limit(batching.row_tokens)
        self._train_batch_size = self.state.train_batch_size = self.args.train_batch_size
        if batching.checkpointing and not self.run.gradient_checkpointing:
            self.model.activation_checkpointing_enable({"use_reentrant": False})

    @property
    def micro_batch(self) -> int:
        """Samples that are made into rows at once, at most.

        Packed rows are bounded by their tokens, so it is all that this process has of an effective batch: samples of
        one picture meet even where a run asks for one sample at a time.
        """
        if self.data_collator.packs:
            return math.ceil(self.run.effective_batch / ranks.world())
        return int(self.args.per_device_train_batch_size)

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
        failure = next((batch[FAILURE] for batch in batches if FAILURE in batch), None)
        good = [batch for batch in batches if FAILURE not in batch]
        self._ids = [each for batch in good for each in batch[SAMPLE_IDS]]
        labels, tokens, failures = ranks.total(
            sum(len(row.targets) for batch in good for row in batch[ROWS]),
            sum(batch[TOKENS] for batch in good),
            failure is not None,
        )
        if failures:
            ranks.raise_together(failure)
        self.state.num_input_tokens_seen += int(tokens)
        if self.is_fsdp_enabled:
            for batch in batches:
                batch[ROWS] = in_step_with_others(batch[ROWS], batch[ROWS])
        return batches, torch.tensor(int(labels), device=device)

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
            # One model held together exchanges them at once instead: each device keeps its share of them only.
            more = number < len(rows) and not self.is_fsdp_enabled
            waiting = self.accelerator.no_sync(model) if more else contextlib.nullcontext()
            self.pass_tokens = row.tokens
            with waiting:
                share = self.row_loss(model, row) / num_items_in_batch * self.accelerator.num_processes
                self.accelerator.backward(share)
            loss += share.detach()
        return loss

    def row_loss(self, model: Any, row: Row) -> torch.Tensor:
        """The summed token losses of one row, in the run's precision."""
        row = row.to(self.args.device)
        if self._seeing is not None:
            row = row.encoded(self._seeing)
        with self.compute_loss_context_manager():
            return summed_loss(model, row)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The gradient's norm before clipping; the loop asks for it before each update, so this is where to stop."""
        norm = sharding.whole(torch.as_tensor(super()._get_grad_norm(model, grad_norm)))
        loss_broken, norm_broken = ranks.agree(
            not bool(torch.isfinite(self._tr_loss)), not bool(torch.isfinite(norm))
        )  # of all devices
        scaled = self.accelerator.scaler is not None
        self._skipped_steps = self._skipped_steps + 1 if norm_broken else 0
        if loss_broken or (norm_broken and (not scaled or self._skipped_steps > _MOST_SKIPPED_STEPS)):
            raise self._diverged("the loss" if loss_broken else "the gradient's norm")
        return norm

    def _diverged(self, what: str) -> DivergedError:
        step = self.state.global_step + 1
        names = [name for each in ranks.gathered(self._ids) for name in each]
        error = DivergedError(
            Problem(
                f"training step {step}",
                f"{what} is no longer a number; the step was not taken and the last checkpoint is kept. "
                f"Samples of the step: {', '.join(names[:32])}",
                fix="lower learningRate by 2 to 5 times"
                + ("; or use BFloat16 or Float32 instead of Float16" if self.run.precision == "Float16" else ""),
            )
        )
        error.shared = not ranks.is_main()
        return error

    # ---- order, schedule, precision -----------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This process's micro-batches; accelerate would deal samples out in another order than one process has."""
        batches = MicroBatches(
            self.order,
            effective=self.run.effective_batch,
            size=self.micro_batch,
            rank=ranks.rank(),
            world=ranks.world(),
        )
        self.args.gradient_accumulation_steps = batches.accumulation
        return DataLoader(
            self.train_dataset,
            batch_sampler=batches,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
        )

    def _run_epoch(self, **arguments: Any) -> None:
        if self._waited_long_enough():  # killed after the evaluation that ended it, or just before
            self.control.should_training_stop = True
            return
        self.order.set_epoch(arguments["epoch"])
        super()._run_epoch(**arguments)

    def create_optimizer(self, model: Any = None) -> Any:
        """The optimizer, and what it is given for weights that a step's samples did not touch."""
        if self.optimizer is None:
            super().create_optimizer(model).register_step_pre_hook(gradients.settle)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The learning rate's schedule over the whole run."""
        if self.lr_scheduler is None:
            self.lr_scheduler = scheduler(self.run, optimizer or self.optimizer, num_training_steps)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def create_accelerator_and_postprocess(self) -> None:
        """Accelerate's set-up, and what it leaves out silently: Float16 and divided models on the CPU."""
        super().create_accelerator_and_postprocess()
        if self.run.precision == "Float16" and self.accelerator.device.type == "cpu":
            self.accelerator.native_amp = True
            self.accelerator.scaler = torch.amp.GradScaler("cpu")
        if sharding.is_asked_for():
            sharding.set_up(self.accelerator, self.model, self.run, entry_of(self.run))
            self.is_fsdp_enabled = True
            # Gradients are exchanged with each pass: to wait with it, each device would have to keep all of them.
            self.accelerator.gradient_state.plugin_kwargs["sync_each_batch"] = True

    # ---- what is written while it runs --------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """One row of metrics; the library's own history would make every checkpoint longer than the one before."""
        del start_time
        if "loss" in logs and ranks.is_main():
            self.around.pace.write(logs, self.state)
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, logs)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: the library walks through all modules for it, at every micro-batch."""
        del inputs
        return 0

    # ---- evaluation ---------------------------------------------------------------------------------------------

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The validation loss, and the scores of real answers where early stopping goes by them."""
        del args, kwargs
        self.model.eval()
        loss = validation_loss(
            self.eval_dataset,
            size=self.args.eval_batch_size,
            collate=self.data_collator,
            loss_of=lambda row: self.row_loss(self.model, row),
            pause=self._pause_in_evaluation,
            in_step=self.is_fsdp_enabled,
        )
        scores = self._scores()
        self.model.train()
        metrics = {"eval_loss": loss}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self._after_evaluation(loss, scores)
        return metrics

    def _scores(self) -> dict[str, float]:
        """Of the first process, for all: drawn on two devices, answers may differ in a bit and part ways."""
        if self.around.scores is None:
            return {}
        if ranks.world() == 1:
            return self.around.scores(self._pause_in_evaluation)
        return ranks.told_by_main(self.around.scores(lambda: None) if ranks.is_main() else {})

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
        if not self.stop.ask():
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
        with checkpoints.sealed(self.around.directory, step) if ranks.is_main() else _nowhere() as folder:
            self.save_state_to(folder)
        if ranks.is_main():
            self.around.mirror.checkpoint(step)
            best = self.best_step()
            kept = frozenset() if best is None else frozenset([best])
            for gone in checkpoints.rotate(self.around.directory, keep=self.run.checkpoints_kept, protect=kept):
                self.around.mirror.remove(gone)
        ranks.wait()
        self.around.say(f"checkpoint of step {step} saved")

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        model, batches = super()._prepare_for_training(*args, **kwargs)
        if self.is_fsdp_enabled:
            sharding.finish(model)
        return model, batches


@contextlib.contextmanager
def _nowhere() -> Iterator[Path]:
    """For a process that only takes part in a checkpoint: it writes nothing."""
    yield Path(os.devnull)
