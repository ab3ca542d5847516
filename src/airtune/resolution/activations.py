"""What a forward pass keeps for the backward pass, counted operation by operation, in bytes a token.

The ledger follows the code of transformers 5.23 for decoders of the Llama kind (Qwen2.5-VL, Qwen3-VL, InternVL,
LLaVA-NeXT) under peft 0.21, with SDPA, which keeps no matrix of scores:

* a root-mean-square norm keeps its input in float32, with SFT also what it multiplies its weight with;
* a frozen linear layer keeps nothing; its adapter keeps the input it multiplies (after dropout), the dropout's mask,
  and ``rank`` numbers; a trained linear layer keeps its input;
* attention keeps queries, keys, values (repeated to all heads where a mask is given) and its output;
* a gated MLP keeps the gate, the activated gate and the other branch.

With gradient checkpointing a layer keeps its input alone, and one layer at a time is computed again. Layers of other
kinds (recurrent attention, experts) are counted by the widths of their linear layers, which is an approximation.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from airtune.resolution.lengths import Row
from airtune.resolution.parameters import WIDTHS, is_linear
from airtune.resolution.shapes import head_dim, text_config, vision_config
from airtune.resolution.weights import Tensor
from airtune.runspec.resolved import ResolvedRun

FLOAT32: Final = 4
LOGIT_BYTES: Final = 12
"""A score on a label position at its dearest: log-probabilities, their gradient and the scores' gradient in float32."""

WORKING: Final = 2
"""Bytes a token and unit of the widest layer that a layer's backward pass needs beside what was kept, in float32.
Calibrated on a CPU with ``benchmarks/memory_estimate.py``: most of it takes the place of what is given back."""
WORKING_MIXED: Final = 8
"""The same in 16 bit, where gradients are held in both types for a moment."""

_LAYER: Final = re.compile(r"^(.*\blayers\.\d+)\.(.+)$")
_INNERMOST: Final = ("o_proj", "down_proj", "out_proj")
"""Linear layers whose output is only added to the residual stream, which keeps nothing."""
_SHARED_INPUTS: Final = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


@dataclass(frozen=True)
class Form:
    """In which form a run computes.

    Attributes:
        width: bytes of a number in matrix products.
        residual: bytes of a number between layers.
        lora: whether adapters are trained, and not the weights themselves.
        rank: of the adapters.
        dropout: whether the adapters drop inputs at random.
        mask: bytes of a number of the dropout's mask.
        casts_inputs: whether each adapter makes a copy of its input of its own.
    """

    width: int
    residual: int
    lora: bool
    rank: int
    dropout: bool
    mask: int
    casts_inputs: bool

    @classmethod
    def of(cls, run: ResolvedRun, *, on_gpu: bool) -> Form:
        """The form of a resolved run."""
        width, lora = WIDTHS[run.precision], run.training_mode == "LoRA"
        mixed = width < FLOAT32
        # Adapters take float32; under CUDA's autocast a 4-bit layer leaves its input as it is.
        casts = mixed and not (run.quantization_enabled and on_gpu)
        return cls(
            width=width,
            residual=FLOAT32 if mixed and not lora else width,
            lora=lora,
            rank=run.lora_rank,
            dropout=run.lora_dropout > 0,
            mask=1 if on_gpu else FLOAT32 if casts or not mixed else width,
            casts_inputs=casts,
        )


@dataclass(frozen=True)
class Kept:
    """What the language model keeps.

    Attributes:
        layers: bytes a token of each layer, everything kept.
        entry: bytes a token of a layer of which only the input is kept.
        outside: bytes a token before the first layer and after the last.
        pair: bytes a pair of tokens and layer: the attention mask as numbers, which SDPA makes in every layer.
        working: bytes a token that the backward pass of one layer needs beside what was kept.
    """

    layers: tuple[int, ...]
    entry: int
    outside: int
    pair: int
    working: int

    def entries(self, row: Row) -> int:
        """What is kept at the end of a forward pass with gradient checkpointing: each layer's input."""
        return row.tokens * (len(self.layers) * self.entry + self.outside)

    def bytes_of(self, row: Row, *, checkpointing: bool) -> int:
        """For one pass, without the scores over the vocabulary."""
        pairs = self.pair * row.pairs
        if not self.layers:
            return row.tokens * self.outside
        if checkpointing:
            return self.entries(row) + row.tokens * (max(self.layers) + self.working) + pairs
        return row.tokens * (sum(self.layers) + self.outside + self.working) + len(self.layers) * pairs


def language(run: ResolvedRun, config: Mapping[str, Any], parameters: Iterable[Tensor], adapted: Collection[str],
             *, on_gpu: bool) -> Kept:  # fmt: skip
    """What the layers of the language model keep.

    Args:
        run: mode, precision, dropout.
        config: of the base model.
        parameters: those of its language model.
        adapted: names of the layers with adapters.
        on_gpu: whether it computes on a GPU; some copies differ on a CPU.
    """
    form, text = Form.of(run, on_gpu=on_gpu), text_config(config)
    hidden = int(text.get("hidden_size", 0))
    layers: dict[str, list[Tensor]] = {}
    for tensor in parameters:
        found = _LAYER.match(tensor.name)
        if found is not None:
            layers.setdefault(found[1], []).append(tensor)
    kept = tuple(_layer(form, text, tensors, adapted) for tensors in layers.values())
    inner = max((tensor.shape[-2] for each in layers.values() for tensor in each if len(tensor.shape) > 1), default=0)
    return Kept(
        layers=kept,
        entry=form.residual * hidden,
        outside=_norm(form, hidden, plain=False) + form.residual * hidden,
        pair=form.width,
        working=(WORKING_MIXED if form.width < FLOAT32 else WORKING) * min(inner, 16 * hidden),
    )


def _layer(form: Form, text: Mapping[str, Any], tensors: Iterable[Tensor], adapted: Collection[str]) -> int:
    linears: dict[str, tuple[int, int]] = {}
    names: dict[str, bool] = {}
    total = 0
    for tensor in tensors:
        module = tensor.name.removesuffix(".weight")
        last = module.rpartition(".")[2]
        if is_linear(tensor):
            linears[last] = (tensor.shape[0], tensor.shape[1])
            names[last] = module in adapted
        elif ".experts." in tensor.name and len(tensor.shape) == 3:
            total += _experts(form, text, tensor)
    heads = int(text.get("num_attention_heads", 1))
    for tensor in tensors:
        if "norm" in tensor.name and len(tensor.shape) == 1 and tensor.name.endswith(".weight"):
            per_head = re.search(r"\b([qk])_norm\b", tensor.name)
            source = linears.get(f"{per_head[1]}_proj") if per_head and tensor.shape[0] == _head(text) else None
            total += _norm(form, source[0] if source else tensor.shape[0], plain=source is not None)
    queries = linears["q_proj"][0] if "q_proj" in linears else 0
    if queries:
        total += 4 * form.width * queries + FLOAT32 * heads
    for last, (outputs, inputs) in linears.items():
        total += _input(form, last, inputs, adapted=names[last], others=linears)
        if last == "gate_proj":
            total += 3 * form.width * outputs  # the gate, the activated gate, the other branch
        elif last not in ("up_proj", "q_proj", "k_proj", "v_proj", *_INNERMOST):
            total += form.width * outputs
    return total


def _input(form: Form, last: str, inputs: int, *, adapted: bool, others: Collection[str]) -> int:
    """What one linear layer keeps of its input."""
    group = next((group for group in _SHARED_INPUTS if last in group), (last,))
    first = last == next((each for each in group if each in others), last)
    if last == "o_proj" and not (form.casts_inputs or form.dropout):
        first = False  # attention keeps it already
    if not form.lora:
        own = form.width < form.residual and last not in _INNERMOST
        return form.width * inputs if own or (first and last != "o_proj") else 0
    if not adapted:
        return 0
    kept = form.rank * form.width
    if form.dropout:
        return kept + inputs * (form.mask + form.width)
    return kept + (form.width * inputs if form.casts_inputs or first else 0)


def _norm(form: Form, width: int, *, plain: bool) -> int:
    """A root-mean-square norm: ``plain`` on a tensor in the form of matrix products, else on the residual stream."""
    if form.lora:
        return FLOAT32 * (width + 1)
    return (FLOAT32 + (form.width if plain else FLOAT32)) * width + FLOAT32


def _experts(form: Form, text: Mapping[str, Any], tensor: Tensor) -> int:
    """Fused experts: each token passes through a few of them; what they keep is as of a gated MLP."""
    chosen = int(text.get("num_experts_per_tok") or text.get("top_k_experts") or 1)
    _, outputs, inputs = tensor.shape
    if tensor.name.endswith("gate_up_proj"):
        return chosen * form.width * (2 * outputs + inputs)
    return chosen * form.width * (outputs + inputs)


def _head(text: Mapping[str, Any]) -> int:
    return head_dim(text) if "num_attention_heads" in text and "hidden_size" in text else 0


@dataclass(frozen=True)
class Tower:
    """What the vision tower needs.

    Attributes:
        passing: bytes a patch while a picture goes through it and nothing is kept.
        kept: bytes a patch and block kept for the backward pass (SFT).
        entry: the same with gradient checkpointing.
        blocks: how many it has.
        pixels: bytes of one patch's pixels.
        feature: bytes of one image token as the language model gets it.
    """

    passing: int
    kept: int
    entry: int
    blocks: int
    pixels: int
    feature: int

    def bytes_of(self, row: Row, *, trained: bool, checkpointing: bool) -> int:
        """For one pass: a frozen tower sees one picture after the other and keeps nothing."""
        waiting = row.patches * self.pixels + row.picture_tokens * self.feature
        if not trained:
            return waiting + row.largest_picture * self.passing
        if checkpointing:
            return waiting + row.patches * (self.blocks * self.entry + self.kept + self.passing)
        return waiting + row.patches * (self.blocks * self.kept + self.passing)


def vision(run: ResolvedRun, config: Mapping[str, Any], *, on_gpu: bool) -> Tower | None:
    """What the vision tower of a base model needs; None where its config.json does not say."""
    form, tower, text = Form.of(run, on_gpu=on_gpu), vision_config(config), text_config(config)
    try:
        width, inner = int(tower["hidden_size"]), int(tower["intermediate_size"])
        blocks = int(tower.get("depth") or tower["num_hidden_layers"])
        patch = tower["patch_size"]
    except (KeyError, TypeError):
        return None
    edge = int(patch[0] if isinstance(patch, (list, tuple)) else patch)
    gated = config.get("model_type") == "qwen2_5_vl"
    deep = len(tower.get("deepstack_visual_indexes") or ())
    frames = int(tower.get("temporal_patch_size") or 1)
    e, r = form.width, form.residual
    return Tower(
        # Residual stream and normed input; then queries, keys and values, turned in float32; or the MLP's inside.
        passing=(r + e) * width + max(3 * e * width + 6 * FLOAT32 * width, (3 if gated else 2) * e * inner),
        kept=2 * (r + e) * width + 6 * e * width + (4 if gated else 2) * e * inner,
        entry=r * width,
        blocks=blocks,
        pixels=3 * frames * edge * edge * FLOAT32,
        feature=e * int(text.get("hidden_size", 0)) * (1 + deep),
    )


def logits(row: Row, vocabulary: int) -> int:
    """The scores over the vocabulary, which are computed on label positions alone."""
    return row.labels * vocabulary * LOGIT_BYTES
