"""The validation loss: mean cross entropy over all label tokens of the split, on any number of devices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from airtune.training import ranks
from airtune.training.rows import Row
from airtune.training.samples import FAILURE, ROWS, Sample, Samples


def validation_loss(
    samples: Samples,
    *,
    size: int,
    collate: Callable[[Sequence[Sample]], dict[str, Any]],
    loss_of: Callable[[Row], torch.Tensor],
    pause: Callable[[], None],
    in_step: bool,
) -> float:
    """Every process computes each so many-th micro-batch, and all of them learn the same mean.

    No logits are kept, and no random state is touched, so a run evaluates or not and trains the same.

    Args:
        samples: of the split.
        size: samples a micro-batch.
        collate: makes rows of samples.
        loss_of: the summed token losses of a row.
        pause: called by all processes before each micro-batch; may raise to end it.
        in_step: whether all processes must compute the same number of rows, because they hold one model together.

    Raises:
        AirtuneError: a sample cannot be made.
    """
    loss, tokens = 0.0, 0
    order = sorted(range(len(samples)), key=lambda index: samples.records[index].shown)  # who can share a row
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    with torch.no_grad():
        for number in range(math.ceil(len(batches) / ranks.world())):
            pause()
            place = number * ranks.world() + ranks.rank()
            own = place < len(batches)
            batch = collate([samples[index] for index in (batches[place] if own else batches[-1])])
            failure = batch.get(FAILURE)
            if ranks.agree(failure is not None)[0]:
                ranks.raise_together(failure)
            rows = batch[ROWS] if own else []
            for row in in_step_with_others(rows, batch[ROWS]) if in_step else rows:
                loss += float(loss_of(row))
                tokens += len(row.targets)
    all_loss, all_tokens = ranks.total(loss, tokens)
    return all_loss / max(all_tokens, 1)


def in_step_with_others(rows: Sequence[Row], spare: Sequence[Row]) -> list[Row]:
    """As many rows as the process with most of them has, filled up with the shortest spare one, which teaches nothing.

    Processes that hold one model together put its layers together for each pass, all of them or none.
    """
    (most,) = ranks.largest([len(rows)])
    missing = most - len(rows)
    filler = [min(spare, key=lambda row: row.tokens).unlearned()] if missing else []
    return [*rows, *filler * missing]
