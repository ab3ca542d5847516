"""``transformers.Trainer`` with what it gets wrong for vision-language models put right.

Overridden, and nothing else: the loss (label positions only, weighted by tokens over the whole effective batch), the
order of samples (from seed and epoch alone), the schedule (closed form), evaluation (token-weighted, leaves random
states alone), checkpoints (atomic), and the answer to a loss that is no longer a number (stop).
"""

from __future__ import annotations

import contextlib
import itertools
import math
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import PrinterCallback, TrainingArguments

from airtune.catalog.registry import entry_of
from airtune.errors import DefectError, Problem
from airtune.modeling.vision_features import PictureEncoder
from airtune.runspec.resolved import ResolvedRun
from airtune.stores import layout
from airtune.training import gradients, ranks, sharding
from airtune.training.attempts import Attempts
from airtune.training.batching import Batching
from airtune.training.best import Best
from airtune.training.checkpointed import CheckpointedTrainer
from airtune.training.finite import Finite
from airtune.training.flow import Flow
from airtune.training.loss import summed_loss
from airtune.training.optimization import optimizer_and_settings, scheduler
from airtune.training.order import EpochOrder, MicroBatches
from airtune.training.rows import Row
from airtune.training.samples import FAILURE, ROWS, SAMPLE_IDS, TOKENS, Batches, Samples
from airtune.training.surroundings import Surroundings
from airtune.training.validating import Validating
from airtune.training.validation import in_step_with_others
from airtune.training.weights import load_trained


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
        self.best = Best(run, around.evaluations)
        self._validating = Validating(self)
        self._finite = Finite(run)
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
        best = self.best.step()
        if best is not None and best != self.state.global_step and not self.stop:
            load_trained(self.model, self.around.directory.workspace / layout.checkpoint(best))
            self.around.say(f"the weights of step {best} are kept: they had the best {self.best.goal}")

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
        scaled = self.accelerator.scaler is not None
        self._finite.check(self._tr_loss, norm, step=self.state.global_step + 1, ids=self._ids, scaled=scaled)
        return norm

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
        if self.best.waited_long_enough():  # killed after the evaluation that ended it, or just before
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

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        model, batches = super()._prepare_for_training(*args, **kwargs)
        if self.is_fsdp_enabled:
            sharding.finish(model)
        return model, batches

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

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The validation loss, and the scores of real answers where early stopping goes by them."""
        del args, kwargs
        metrics = {"eval_loss": self._validating()}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def stop_before_the_first_step(self) -> None:
        """Ends the process when it was told to stop and this attempt has trained nothing yet.

        Raises:
            PreemptedError: it was told to stop.
        """
        if self.stop:
            step = self.state.global_step
            self.stop.obey(f"the checkpoint of step {step} is the newest" if step else "nothing was lost")
