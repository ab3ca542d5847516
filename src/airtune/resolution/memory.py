"""The most memory that one device needs while a run trains, part by part.

Weights, adapters, gradients and optimizer are counted; activations follow a ledger of what each operation keeps
(:mod:`airtune.resolution.activations`); the overhead is calibrated. Not everything is there at once: gradients are
complete when the activations are gone. The peak is that of the dearest of three moments: the end of a first forward
pass, the end of a later one (gradients are there already), and the update.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from airtune.catalog.entry import CatalogEntry
from airtune.resolution import activations
from airtune.resolution.base_model import BaseModel
from airtune.resolution.lengths import Row
from airtune.resolution.parameters import Counted
from airtune.runspec.resolved import ResolvedRun

CONTEXT: Final = 600_000_000
"""Bytes of CUDA's context and of the kernels that a training loads: 0.4 to 0.8 GB. Assumed, not measured here."""

FRAGMENTS: Final = 0.06
"""Share of what comes and goes (activations, scores, pixels) that the allocator holds beyond what is asked of it."""

_STATES: Final = 8
"""Adam's two float32 moments, in bytes a trained parameter."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device.

    Attributes:
        weights: of the base model, in the form in which the run holds them; in 4 bit with their scales.
        adapters: the LoRA matrices, in float32.
        gradients: of what is trained, in float32.
        optimizer: its two moments, in float32.
        activations: what the language model keeps for the backward pass.
        logits: scores over the vocabulary, on label positions.
        vision: pixels, the vision tower at work, and its features.
        overhead: CUDA's context and the allocator's fragments; 0 on a CPU.
        peak: the most that is there at once.
        allocated: the peak without the overhead: what ``torch.cuda.max_memory_allocated`` is to say.
        moment: when that is: ``forward``, ``later forward`` or ``update``.
    """

    weights: int
    adapters: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    vision: int
    overhead: int
    peak: int
    allocated: int
    moment: str

    def to_json(self) -> dict[str, Any]:
        """For ``resolution.json``."""
        return asdict(self)


def memory(run: ResolvedRun, entry: CatalogEntry, base: BaseModel, counted: Counted, row: Row, *, passes: int,
           on_gpu: bool, shards: int = 1) -> Memory | None:  # fmt: skip
    """The need of the dearest micro-batch.

    Args:
        run: the resolved run.
        entry: where the parts of the model are.
        base: the base model.
        counted: see :func:`airtune.resolution.parameters.count`.
        row: the dearest micro-batch, see :func:`airtune.resolution.lengths.largest`.
        passes: forward and backward passes before an update; from the second on gradients are there already.
        on_gpu: whether the device is a GPU.
        shards: devices over which weights, gradients and optimizer are spread (SFT on several devices).

    Returns:
        None where the base model's parameters are not known.
    """
    if not base.tensors or base.vocabulary is None:
        return None
    lora = run.training_mode == "LoRA"
    own = [tensor for tensor in base.tensors if entry.part_of(tensor.name) == "language"]
    kept = activations.language(run, base.config, own, counted.adapted, on_gpu=on_gpu)
    tower = activations.vision(run, base.config, on_gpu=on_gpu)
    checkpointing = run.gradient_checkpointing
    held = kept.bytes_of(row, checkpointing=checkpointing)
    seen = tower.bytes_of(row, trained=not lora, checkpointing=checkpointing) if tower is not None else 0
    scores = activations.logits(row, base.vocabulary)
    casts = counted.cast_bytes
    if checkpointing and not lora:
        # The copies of a forward pass are given back with it; later one layer at a time is copied again.
        held = max(held + casts // max(1, len(kept.layers)), kept.entries(row) + casts)
        casts = 0
    weights = counted.weight_bytes // (1 if lora else shards)
    adapters = 4 * counted.adapter_parameters
    gradients = 4 * counted.trained // (1 if lora else shards)
    optimizer = _STATES * counted.trained // (1 if lora else shards)
    # A frozen tower's passing needs are over before the scores are computed; what waits on the device stays.
    passing = max(scores, row.largest_picture * tower.passing) if tower is not None and lora else scores + seen
    waiting = seen - row.largest_picture * tower.passing if tower is not None and lora else 0
    moving = held + waiting + passing + casts
    always = weights + adapters + optimizer
    moments: Mapping[str, int] = {
        "forward": always + moving,
        "later forward": always + gradients + moving if passes > 1 else 0,
        "update": always + gradients + (0 if on_gpu else 2 * _largest(counted, base, lora)),
    }
    moment = max(moments, key=lambda name: moments[name])
    allocated = moments[moment]
    overhead = CONTEXT + round(FRAGMENTS * (moving if moment != "update" else 0)) if on_gpu else 0
    return Memory(
        weights=weights,
        adapters=adapters,
        gradients=gradients,
        optimizer=optimizer,
        activations=held + casts,
        logits=scores,
        vision=seen,
        overhead=overhead,
        peak=allocated + overhead,
        allocated=allocated,
        moment=moment,
    )


def _largest(counted: Counted, base: BaseModel, lora: bool) -> int:
    """Bytes of the largest trained tensor: torch's plain optimizers update one after the other, in passing copies."""
    if lora:
        return 4 * max((max(shape) for shape in counted.adapted.values()), default=0)
    return 4 * max(tensor.parameters for tensor in base.tensors)
