"""The largest micro-batch goes through the model once before the run, so that it does not fail hours later."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.nn.parallel import DistributedDataParallel
from transformers import TrainerCallback

from airtune.training import ranks, sharding
from airtune.training.out_of_memory import give_back, is_out_of_memory
from airtune.training.pace import peak_bytes
from airtune.training.random_states import untouched
from airtune.training.samples import FAILURE, ROWS, SAMPLE_IDS

if TYPE_CHECKING:
    from airtune.training.rows import Row
    from airtune.training.trainer import VisionLanguageTrainer

_MOST_SAMPLES: Final = 500_000
"""So many places in the order of the epochs are looked at for the largest micro-batch: a second's work."""

_CANDIDATES: Final = 3
"""So many micro-batches are really made: how long a row of packed samples is, is known only then."""


class Probe(TrainerCallback):  # type: ignore[misc]
    """Forward and backward of the run's largest row, in the state of a real step; nothing of it stays.

    The state of a real step: gradients of other micro-batches are there, and so are the optimizer's two moments. What
    comes afterwards is as if there had been no probe: random states, gradients and buffers are put back.

    Args:
        trainer: whose loop is about to begin.
        lengths: tokens of each training sample, in the order of their indices.
    """

    def __init__(self, trainer: VisionLanguageTrainer, lengths: Sequence[int]) -> None:
        self._trainer = trainer
        self._lengths = lengths

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the first step, with the model wrapped and a checkpoint's optimizer loaded.

        Raises:
            torch.OutOfMemoryError: or what else the allocator raises; the trainer takes the next remedy.
        """
        del args, control, kwargs
        if state.global_step >= state.max_steps:
            return
        trainer = self._trainer
        begun = time.monotonic()
        row, ids = self.largest()
        trainer.pass_tokens = row.tokens
        failure = self._tried(row)
        (failed,) = ranks.agree(failure is not None)
        if failure is not None:
            raise failure
        if failed:
            raise MemoryError("another process of this run ran out of memory")
        give_back()
        seconds = time.monotonic() - begun
        found = {"samples": ids, "tokens": row.tokens, "seconds": round(seconds, 3), "peak_bytes": peak_bytes()}
        trainer.around.remedies.probed(found)
        trainer.around.say(f"probe: the largest pass ({len(ids)} samples, {row.tokens:,} tokens) fits, {seconds:.1f} s")
        trainer.stop_before_the_first_step()

    def largest(self) -> tuple[Row, list[str]]:
        """The row with the most tokens among the largest micro-batches of the run, and the samples of its batch."""
        trainer = self._trainer
        found: list[tuple[Row, list[str]]] = []
        for indices in self._largest_batches():
            batch = trainer.data_collator([trainer.train_dataset[index] for index in indices])
            if FAILURE in batch:
                raise batch[FAILURE]
            found.append((max(batch[ROWS], key=lambda row: row.tokens), batch[SAMPLE_IDS]))
        return max(found, key=lambda each: each[0].tokens)

    def _largest_batches(self) -> list[list[int]]:
        """Micro-batches as the run will meet them, by their tokens with padding, then by their tokens."""
        trainer, lengths = self._trainer, self._lengths
        size = trainer.micro_batch
        order, epoch = trainer.order, trainer.order.epoch
        sizes: dict[tuple[int, ...], tuple[int, int]] = {}
        for number in range(min(trainer.run.epochs, math.ceil(_MOST_SAMPLES / len(lengths)))):
            order.set_epoch(number)
            places = list(order)
            for start in range(0, len(places), size):
                batch = tuple(places[start : start + size])
                tokens = [lengths[index] for index in batch]
                sizes[batch] = (len(batch) * max(tokens), sum(tokens))
            if len(sizes) > _CANDIDATES:
                sizes = {batch: sizes[batch] for batch in sorted(sizes, key=sizes.__getitem__)[-_CANDIDATES:]}
        order.set_epoch(epoch)
        return [list(batch) for batch in sizes]

    def _tried(self, row: Row) -> Exception | None:
        """What came of it: nothing, or memory that ran out."""
        trainer = self._trainer
        try:
            with untouched(trainer.model), _moments(trainer), _gradients(trainer):
                self._pass(row)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return error
        return None

    def _pass(self, row: Row) -> None:
        """One pass in which no process waits for another: memory may run out in one of them alone."""
        trainer = self._trainer
        wrapped = trainer.model_wrapped
        model = wrapped.module if isinstance(wrapped, DistributedDataParallel) else wrapped
        with sharding.alone(model):
            trainer.training_step(model, {ROWS: [row]}, torch.tensor(len(row.targets), device=trainer.args.device))


@contextlib.contextmanager
def _moments(trainer: VisionLanguageTrainer) -> Iterator[None]:
    """Room for the optimizer's two moments, which it takes at its first step."""
    optimizer: Any = trainer.optimizer
    kept = []
    if not optimizer.state:
        kept = [torch.zeros_like(p) for _ in range(2) for p in trainer.model.parameters() if p.requires_grad]
    yield
    del kept


@contextlib.contextmanager
def _gradients(trainer: VisionLanguageTrainer) -> Iterator[None]:
    """Gradients of an earlier micro-batch of the same step, where a step has several."""
    if trainer.around.remedies.batching.accumulation > 1:
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
    yield
