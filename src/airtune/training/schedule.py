"""The learning rate at each step, in closed form."""

from __future__ import annotations

import math

from airtune.runspec.resolved import Schedule


def total_steps(samples: int, *, epochs: int, effective_batch: int) -> int:
    """Optimizer steps of a run: each epoch ends with a step, also when its last batch is not full."""
    return epochs * math.ceil(samples / effective_batch)


def warmup_steps(ratio: float, total: int) -> int:
    """In how many of the ``total`` steps the rate rises; a share is rounded up."""
    return math.ceil(ratio * total)


def rate_factor(schedule: Schedule, step: int, *, warmup: int, total: int) -> float:
    """By what the learning rate is multiplied in a step.

    With w warm-up steps of n in all and s the step, counted from 0: s/w while s < w; then 1 (``constant``),
    (n-s)/(n-w) (``linear``) or (1 + cos(pi (s-w)/(n-w)))/2 (``cosine``).
    """
    if step < warmup:
        return step / warmup
    if schedule == "constant":
        return 1.0
    remaining = max(0, total - step) / max(1, total - warmup)
    if schedule == "linear":
        return remaining
    return 0.5 * (1.0 + math.cos(math.pi * (1.0 - remaining)))
