"""How an effective batch is cut into pieces that fit the memory. The effective batch itself never changes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airtune.runspec.resolved import ResolvedRun


@dataclass(frozen=True, slots=True)
class Batching:
    """What one forward and backward pass holds.

    Attributes:
        batch_size: samples a micro-batch on each device.
        accumulation: micro-batches whose gradients are added up before an update.
        row_tokens: tokens that a row may have into which samples are packed; None: there is no such limit.
        checkpointing: whether activations are computed again in the backward pass instead of kept.
    """

    batch_size: int
    accumulation: int
    row_tokens: int | None = None
    checkpointing: bool = False

    @classmethod
    def of(cls, run: ResolvedRun, row_tokens: int | None = None, *, devices: int = 1) -> Batching:
        """As the run asks, with its effective batch dealt to so many devices."""
        share = math.ceil(run.effective_batch / devices)
        return cls(run.batch_size, math.ceil(share / run.batch_size), row_tokens, run.gradient_checkpointing)

    @property
    def effective(self) -> int:
        """Samples an update on each device."""
        return self.batch_size * self.accumulation

    def smaller(self, *, row: int, longest: int) -> Batching | None:
        """The next thing to try when this does not fit, the cheapest first; None when nothing is left.

        A row of several packed samples is halved. Where nothing is packed the micro-batch becomes the largest divisor
        of the effective batch that is at most half of it, and accumulation rises with it. With one sample a pass,
        activations are computed again instead of kept; that costs about a third of the speed, so it comes last.

        Args:
            row: tokens of the pass that did not fit.
            longest: tokens of the longest sample: no row is shorter.
        """
        if self.row_tokens is not None and row > longest:
            return replace(self, row_tokens=max(longest, row // 2))
        if self.row_tokens is None and self.batch_size > 1:
            size = next(size for size in range(self.batch_size // 2, 0, -1) if self.effective % size == 0)
            return replace(self, batch_size=size, accumulation=self.effective // size)
        return None if self.checkpointing else replace(self, checkpointing=True)

    def to_json(self) -> dict[str, Any]:
        """The values by name."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"{self.batch_size} x {self.accumulation} samples"
        if self.row_tokens is not None:
            text += f", at most {self.row_tokens:,} tokens a row"
        return text + (", gradient checkpointing" if self.checkpointing else "")
