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


def test_float16_scales_its_gradients_also_on_the_cpu(assemble: Assemble) -> None:
    pieces = assemble(precision="Float16", train=4, epochs=2)
    scaler = pieces.trainer.accelerator.scaler
    assert scaler is not None
    assert scaler.is_enabled()
    before = pieces.trained()
    pieces.fit()
    assert scaler.get_scale() >= 1024
    assert scaler.state_dict()["_growth_tracker"] == 2  # two steps with the scaled loss, none skipped
    assert any((pieces.trained()[name] != before[name]).any() for name in before)
    # the norm on record is that of the unscaled gradient
    assert pieces.trainer.around.pace._metrics.rows[0]["grad_norm"] < 100
    for other in ("BFloat16", "Float32"):
        assert assemble(precision=other).trainer.accelerator.scaler is None


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


def test_loading_in_4_bit_turns_nothing_that_is_not_quantised_into_float32(assemble: Assemble) -> None:
    """Notes, 5: ``prepare_model_for_kbit_training`` would, for 3.5 GB on a 7B."""
    import torch

    pieces = assemble(quantization_enabled=True, precision="BFloat16", train=4, epochs=1)
    pieces.fit()
    frozen = {str(p.dtype) for p in pieces.model.parameters() if not p.requires_grad}
    assert frozen == {"torch.bfloat16", "torch.uint8"}
    assert pieces.model.get_base_model().get_input_embeddings().weight.dtype == torch.bfloat16


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
