"""How much memory and how many steps a run will take, before anything is loaded.

Memory is that of one device, in bytes, and rough: weights, adapters, gradients and optimizer states are counted from
the model's tensors; activations follow the usual rule for transformer layers [Korthikanti et al. 2022, "Reducing
Activation Recomputation in Large Transformer Models"]: about 34 bytes per token, layer and unit of width in 16 bit
with an attention that keeps no score matrix, and 2 bytes with gradient checkpointing plus one layer in full.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from airtune.catalog.entry import CatalogEntry
from airtune.resolution.base_model import BaseModel
from airtune.resolution.data_facts import DataFacts
from airtune.runspec.resolved import ResolvedRun

_FOUR_BIT: Final = 0.516
"""Bytes a weight: half a byte, and double-quantised scales (32 bits a block of 64, themselves in 8 bit)."""

_TRAINED: Final = 16
"""Bytes a trained parameter: float32 weight and gradient, and Adam's two float32 moments."""

_CHARACTERS_A_TOKEN: Final = 3.0
_ACTIVATION: Final = 34
_OVERHEAD: Final = 1_000_000_000
"""CUDA's context, kernels and fragments."""


def estimate(run: ResolvedRun, data: DataFacts, base: BaseModel, entry: CatalogEntry) -> dict[str, Any]:
    """Steps, and bytes of memory where the base model's tensors could be looked at.

    Returns:
        ``micro_steps_per_epoch``, ``steps_per_epoch``, ``steps`` (updates of the weights), ``effective_batch``,
        ``trained_parameters``, ``tokens_per_sample``, and ``memory`` with ``weights``, ``trained``, ``activations``,
        ``overhead`` and ``total`` in bytes, or None.
    """
    micro_steps = math.ceil(data.train_samples / run.batch_size)
    steps = math.ceil(micro_steps / run.gradient_accumulation)
    tokens = tokens_per_sample(run, data, base)
    trained = trained_parameters(run, base, entry)
    return {
        "micro_steps_per_epoch": micro_steps,
        "steps_per_epoch": steps,
        "steps": steps * run.epochs,
        "effective_batch": run.batch_size * run.gradient_accumulation,
        "trained_parameters": trained,
        "tokens_per_sample": tokens,
        "memory": _memory(run, base, trained, tokens),
    }


def tokens_per_sample(run: ResolvedRun, data: DataFacts, base: BaseModel) -> int:
    """Tokens of a long sample: prompts, images and answer."""
    characters = len(run.system_prompt) + (data.prompt_characters or 0) + (data.target_characters or 0)
    image = 576
    if base.pixels_per_token and data.image_pixels:
        area = min(data.image_pixels, run.max_pixels or data.image_pixels)
        image = math.ceil(area / base.pixels_per_token)
    return math.ceil(characters / _CHARACTERS_A_TOKEN) + image * max(1, data.images_per_sample) + 16


def trained_parameters(run: ResolvedRun, base: BaseModel, entry: CatalogEntry) -> int | None:
    """All of them with SFT; with LoRA rank x (inputs + outputs) of every adapted layer."""
    if run.training_mode == "SFT":
        return run.parameters
    targets = re.compile(rf".*\.(?:{'|'.join(map(re.escape, entry.lora_targets))})\.weight")
    layers = [
        tensor
        for tensor in base.tensors
        if targets.fullmatch(tensor.name)
        and len(tensor.shape) == 2
        and "visual" not in tensor.name
        and "vision" not in tensor.name
    ]
    return sum(run.lora_rank * sum(layer.shape) for layer in layers) or None


def _memory(run: ResolvedRun, base: BaseModel, trained: int | None, tokens: int) -> dict[str, int] | None:
    if not base.parts or base.hidden_size is None or base.layers is None or base.vocabulary is None or trained is None:
        return None
    width = 4 if run.precision == "Float32" else 2
    if run.training_mode == "SFT":
        weights, moved = 0, trained * _TRAINED
    else:
        language = base.parts.get("language", 0)
        weights = round(language * (_FOUR_BIT if run.quantization_enabled else width))
        weights += width * (sum(base.parts.values()) - language)
        moved = trained * _TRAINED
    in_flight = tokens * run.batch_size * base.hidden_size * width // 2
    if run.gradient_checkpointing:
        activations = in_flight * (2 * base.layers + _ACTIVATION)
    else:
        activations = in_flight * _ACTIVATION * base.layers
    # Scores of every token of the answer: in the model's width, and in float32 for the loss.
    activations += round(tokens * run.batch_size * base.vocabulary * (width + 4) * 0.25)
    return {
        "weights": weights,
        "trained": moved,
        "activations": activations,
        "overhead": _OVERHEAD,
        "total": weights + moved + activations + _OVERHEAD,
    }
