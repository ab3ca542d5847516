"""How long a run will take, from the operations that its micro-batches need.

A product of matrices takes two operations a weight and token forward, as many for the gradient of its input, and as
many again for that of its weight where the weight is trained. Attention takes four operations a pair of tokens and
unit of width forward, and twice that backward. What a device makes of its published peak is a constant here: an
estimate, which the run's own log replaces after a few steps.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from airtune.catalog.entry import CatalogEntry
from airtune.resolution.accelerators import Accelerator
from airtune.resolution.base_model import BaseModel
from airtune.resolution.lengths import Epoch
from airtune.resolution.parameters import Counted, is_linear
from airtune.resolution.shapes import head_dim, text_config
from airtune.resolution.weights import Tensor
from airtune.runspec.resolved import ResolvedRun

UTILISATION: Final = 0.40
"""Share of a GPU's published 16-bit peak that training of this kind reaches; 0.3 to 0.5 are usual. Not measured."""
UTILISATION_FLOAT32: Final = 0.60
"""The same of the float32 peak."""
FOUR_BIT: Final = 0.65
"""What is left of the speed with weights in 4 bit, which are turned into 16 bit at each use. Not measured."""
CPU_CORE: Final = 32e9
"""Operations a second of one CPU core in float32."""
PASS: Final = 0.012
"""Seconds a forward and backward pass that go by between the operations: launching kernels, collecting, logging."""


@dataclass(frozen=True)
class Pace:
    """How fast a run goes.

    Attributes:
        operations: of the first epoch, in which every picture is seen.
        seconds_per_step: of one update of the weights.
        seconds: of the whole run, validation and saving not counted.
        device: what it is thought to run on.
        rate: operations a second that are assumed.
    """

    operations: float
    seconds_per_step: float
    seconds: float
    device: str
    rate: float

    def to_json(self) -> dict[str, Any]:
        """For ``resolution.json``."""
        return {
            "operations_of_first_epoch": self.operations,
            "seconds_per_step": round(self.seconds_per_step, 4),
            "seconds": round(self.seconds, 1),
            "device": self.device,
            "operations_per_second": self.rate,
            "estimated": True,
        }


def pace(run: ResolvedRun, entry: CatalogEntry, base: BaseModel, counted: Counted, epoch: Epoch, *,
         gpu: Accelerator | None, steps: int, cached: bool) -> Pace | None:  # fmt: skip
    """The pace of a run.

    Args:
        run: the resolved run.
        entry: where the parts of the model are.
        base: the base model.
        counted: see :func:`airtune.resolution.parameters.count`.
        epoch: its micro-batches.
        gpu: what it runs on; None: this machine's CPU.
        steps: updates of the whole run.
        cached: whether pictures pass through the frozen tower in the first epoch only.

    Returns:
        None where the base model's parameters are not known.
    """
    if not base.tensors:
        return None
    text, tower = _operations(run, entry, base, counted, epoch)
    rate, device = _rate(run, gpu)
    operations = text * run.epochs + tower * (1 if cached else run.epochs)
    seconds = (operations / rate + PASS * epoch.passes * run.epochs) / run.devices
    return Pace(text + tower, seconds / max(1, steps), seconds, device, rate)


def _rate(run: ResolvedRun, gpu: Accelerator | None) -> tuple[float, str]:
    if gpu is None:
        cores = os.cpu_count() or 1
        return CPU_CORE * cores, f"CPU with {cores} cores"
    if run.precision == "Float32":
        rate = gpu.single * 1e12 * UTILISATION_FLOAT32
    else:
        rate = gpu.half * 1e12 * UTILISATION
    return rate * (FOUR_BIT if run.quantization_enabled else 1.0), gpu.name


def _operations(
    run: ResolvedRun, entry: CatalogEntry, base: BaseModel, counted: Counted, epoch: Epoch
) -> tuple[float, float]:
    """Of one epoch: in the language model with its output layer, and in the vision tower with the projector."""
    lora, again = run.training_mode == "LoRA", run.gradient_checkpointing
    parts: dict[str | None, list[Tensor]] = {}
    for tensor in base.tensors:
        parts.setdefault(entry.part_of(tensor.name), []).append(tensor)
    text = text_config(base.config)
    passes = (2.0 if lora else 3.0) + (1.0 if again else 0.0)
    products = 2.0 * _weights(parts.get("language", ()), text) * epoch.tokens * passes
    products += 2.0 * counted.adapter_parameters * epoch.tokens * (3.0 + (1.0 if again else 0.0))
    layers, width = int(text.get("num_hidden_layers", 0)), 0
    if "num_attention_heads" in text:
        width = int(text["num_attention_heads"]) * head_dim(text)
    attention = 4.0 * epoch.pairs * width * layers * (3.0 + (1.0 if again else 0.0))
    scores = 2.0 * epoch.labels * int(base.vocabulary or 0) * int(base.hidden_size or 0) * (2.0 if lora else 3.0)
    seeing = 2.0 * _weights(parts.get("vision", ()), {}) * epoch.patches
    seeing += 2.0 * _weights(parts.get("projector", ()), {}) * epoch.picture_tokens
    if not lora:
        seeing *= 3.0 + (1.0 if again else 0.0)
    return products + attention + scores, seeing


def _weights(tensors: Iterable[Tensor], text: Any) -> float:
    """Weights that each token meets: of experts only as many as it passes through."""
    chosen = int(text.get("num_experts_per_tok") or text.get("top_k_experts") or 1)
    total = 0.0
    for tensor in tensors:
        if is_linear(tensor):
            total += tensor.parameters
        elif ".experts." in tensor.name and len(tensor.shape) == 3:
            total += chosen * tensor.parameters / tensor.shape[0]
    return total
