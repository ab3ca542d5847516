from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.training

Assemble = Callable[..., Any]


@pytest.mark.parametrize("precision", ["BFloat16", "Float16", "Float32"])
def test_frozen_weights_have_the_precision_and_adapters_are_float32(assemble: Assemble, precision: str) -> None:
    import torch

    from airtune.modeling.precision import DTYPES

    pieces = assemble(precision=precision, train=4, epochs=1)
    inside: set[torch.dtype] = set()
    layer = next(m for n, m in pieces.model.named_modules() if n.endswith("layers.0.mlp.act_fn"))
    layer.register_forward_hook(lambda module, given, made: inside.add(made.dtype))
    pieces.fit()
    frozen = {p.dtype for p in pieces.model.parameters() if not p.requires_grad}
    assert frozen == {DTYPES[precision]}
    assert {p.dtype for p in pieces.trained().values()} == {torch.float32}
    assert inside == {DTYPES[precision]}  # what is computed, not only what is stored


def test_full_fine_tuning_in_bfloat16_keeps_float32_master_weights(assemble: Assemble) -> None:
    import torch

    pieces = assemble(training_mode="SFT", precision="BFloat16", learning_rate=1e-5, train=4, epochs=1)
    before = pieces.trained()
    assert {value.dtype for value in before.values()} == {torch.float32}
    pieces.fit()
    after = pieces.trained()
    weight = next(name for name in before if name.endswith("layers.0.mlp.up_proj.weight"))
    # updates as small as these would be lost in BFloat16
    assert (after[weight] != before[weight]).float().mean() > 0.9
    assert ((after[weight] - before[weight]).abs() < 2e-5).all()


def test_nf4_and_fp4_hold_the_language_model_in_4_bit_with_different_codebooks_and_nothing_else(
    assemble: Assemble,
) -> None:
    """Notes, 4: the vision tower, the projector and the output layer stay as they are."""
    import torch

    from airtune.catalog.registry import entry
    from airtune.modeling.parts import count_by_part

    codes: dict[str, Any] = {}
    weights: dict[str, Any] = {}
    for kind in ("NF4", "FP4"):
        pieces = assemble(quantization_enabled=True, quantization_type=kind)
        counts = count_by_part(pieces.model, entry("qwen3vl"))
        quantized = {part: count.quantized for part, count in counts.items()}
        assert quantized == {"language": 14, "projector": 0, "vision": 0}
        layer = pieces.model.get_base_model().model.language_model.layers[0].mlp.up_proj.base_layer
        state = layer.weight.quant_state
        assert state.quant_type == kind.lower()
        assert state.nested  # double quantisation
        assert layer.compute_dtype == torch.float32
        codes[kind] = state.code
        weights[kind] = layer.weight.data.flatten()
    assert not torch.equal(codes["NF4"], codes["FP4"])
    assert not torch.equal(weights["NF4"], weights["FP4"])
