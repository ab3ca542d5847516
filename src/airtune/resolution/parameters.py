"""Which numbers a run holds, in which form, and which of them it trains: counted, not estimated.

Everything follows from the shapes of the base model's tensors and from the catalog's module map, by the same rules as
:mod:`airtune.modeling`: LoRA on the linear layers whose full names match the catalog's anchored pattern, 4 bit on
every linear layer that the catalog does not exempt, and with SFT everything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from airtune.catalog.entry import CatalogEntry
from airtune.resolution.weights import Tensor
from airtune.runspec.resolved import Precision, ResolvedRun

OTHER: Final = "other"
WIDTHS: Final[Mapping[Precision, int]] = {"BFloat16": 2, "Float16": 2, "Float32": 4}
"""Bytes a number."""

BLOCK: Final = 64
"""Weights that share one scale in 4 bit (bitsandbytes' default)."""
_SCALES: Final = 256
"""Scales that share one scale of their own (double quantisation)."""
_A_LAYER: Final = 16 * 4 + 4
"""The codebook of 16 float32 values and the scales' mean, once a layer."""

_NOT_LINEAR: Final = re.compile(r"(?:^|\.)(?:\w*embed\w*|mlp\.gate|query_\w+)$")
"""Two-dimensional weights of other modules: embeddings, and the router of experts."""


@dataclass
class PartCount:
    """One part of the model.

    Attributes:
        parameters: numbers in it, adapters included.
        trained: how many of them are trained.
        adapters: linear layers, and tensors of routed experts, with an adapter.
        quantized: linear layers in 4 bit.
        weight_bytes: of its own weights, in the form in which the run holds them.
    """

    parameters: int = 0
    trained: int = 0
    adapters: int = 0
    quantized: int = 0
    weight_bytes: int = 0


@dataclass(frozen=True)
class Counted:
    """What a run holds and trains.

    Attributes:
        parts: by part, as ``training/selfcheck.json`` has them.
        adapted: the layers that get adapters, by name: (outputs, inputs).
        cast_bytes: copies of weights that a forward pass makes: in 16 bit of float32 (SFT in half precision), and of
            routed experts together with their adapters.
    """

    parts: Mapping[str, PartCount] = field(default_factory=dict)
    adapted: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    cast_bytes: int = 0

    @property
    def parameters(self) -> int:
        """Of the model with its adapters."""
        return sum(part.parameters for part in self.parts.values())

    @property
    def trained(self) -> int:
        """How many parameters are trained."""
        return sum(part.trained for part in self.parts.values())

    @property
    def adapter_parameters(self) -> int:
        """Numbers in the adapters, see :attr:`adapted`."""
        return self.trained if self.adapted else 0

    @property
    def weight_bytes(self) -> int:
        """Of all weights without adapters."""
        return sum(part.weight_bytes for part in self.parts.values())


def count(run: ResolvedRun, entry: CatalogEntry, parameters: Iterable[Tensor]) -> Counted:
    """Counts a run's parameters.

    Args:
        run: its mode, rank, precision and 4-bit settings matter.
        entry: where the parts are.
        parameters: see :func:`airtune.resolution.module_names.parameters_of`.
    """
    lora = run.training_mode == "LoRA"
    width = WIDTHS[run.precision] if lora else WIDTHS["Float32"]
    half = not lora and run.precision != "Float32"
    targets = re.compile(entry.lora_target_pattern)
    parts: dict[str, PartCount] = {}
    adapted: dict[str, tuple[int, int]] = {}
    casts = 0
    merged: dict[str, int] = {}
    for tensor in parameters:
        part = parts.setdefault(entry.part_of(tensor.name) or OTHER, PartCount())
        module = tensor.name.removesuffix(".weight")
        linear = is_linear(tensor)
        part.parameters += tensor.parameters
        if linear and lora and run.quantization_enabled and not is_exempt(module, entry.quantization_skip):
            part.quantized += 1
            part.weight_bytes += four_bit_bytes(tensor.parameters)
        else:
            part.weight_bytes += width * tensor.parameters
        if not lora:
            part.trained += tensor.parameters
            casts += 2 * tensor.parameters if half and len(tensor.shape) > 1 and not _is_embedding(module) else 0
        elif is_expert(tensor, entry):
            number, outputs, inputs = tensor.shape
            part.adapters += 1
            part.parameters += run.lora_rank * number * (outputs + inputs)
            part.trained += run.lora_rank * number * (outputs + inputs)
            layer = module.rpartition(".")[0]
            merged[layer] = merged.get(layer, 0) + width * tensor.parameters
        elif linear and targets.fullmatch(module):
            outputs, inputs = tensor.shape
            adapted[module] = (outputs, inputs)
            part.adapters += 1
            part.parameters += run.lora_rank * (outputs + inputs)
            part.trained += run.lora_rank * (outputs + inputs)
    # PEFT multiplies with the sum of experts and adapters, which the backward pass needs again.
    casts += max(merged.values(), default=0) if run.gradient_checkpointing else sum(merged.values())
    return Counted(parts, adapted, casts)


def is_linear(tensor: Tensor) -> bool:
    """Whether a parameter is the weight of a linear layer."""
    module = tensor.name.removesuffix(".weight")
    return len(tensor.shape) == 2 and module != tensor.name and _NOT_LINEAR.search(module) is None


def is_expert(tensor: Tensor, entry: CatalogEntry) -> bool:
    """Whether a parameter holds the routed experts of one layer: LoRA adapts each of them, 4 bit none."""
    return (
        len(tensor.shape) == 3
        and tensor.name.endswith(tuple(f".{last}" for last in entry.lora_experts))
        and entry.part_of(tensor.name) == "language"
    )


def is_exempt(module: str, skip: Iterable[str]) -> bool:
    """Whether a module stays out of 4 bit; the rule of ``transformers.quantizers.quantizers_utils``."""
    boundary = r"(?:(?<=\.)|(?=\.|$))"
    return any(re.match(rf"(?:{each}){boundary}", module) or module.endswith(each) for each in skip)


def four_bit_bytes(numbers: int) -> int:
    """Bytes of one linear layer in 4 bit with double quantisation, as bitsandbytes 0.50 holds it.

    Half a byte a weight; a scale of 8 bits a block of 64; a float32 scale for 256 of these; codebook and mean.
    """
    blocks = math.ceil(numbers / BLOCK)
    return math.ceil(numbers / 2) + blocks + 4 * math.ceil(blocks / _SCALES) + _A_LAYER


def _is_embedding(module: str) -> bool:
    return re.search(r"embed", module.rpartition(".")[2]) is not None
