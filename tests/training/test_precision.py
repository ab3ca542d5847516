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


@pytest.mark.parametrize("precision", ["BFloat16", "Float16", "Float32"])
def test_a_4_bit_layer_computes_in_the_precision_of_the_run(assemble: Assemble, precision: str) -> None:
    from airtune.modeling.precision import DTYPES

    pieces = assemble(quantization_enabled=True, precision=precision, train=4, validation=0, epochs=1)
    layer = pieces.model.get_base_model().model.language_model.layers[0].mlp.up_proj.base_layer
    made: set[Any] = set()
    layer.register_forward_hook(lambda module, given, out: made.add(out.dtype))
    pieces.fit()
    assert layer.compute_dtype == DTYPES[precision]
    assert made == {DTYPES[precision]}
    assert {value.dtype for value in pieces.trained().values()} == {DTYPES["Float32"]}


def test_nf4_and_fp4_hold_each_block_of_weights_in_the_16_values_of_their_own_codebook(assemble: Assemble) -> None:
    """What is quantised and what is not: test_04 in test_correctness.py."""
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from safetensors.torch import load_file
    from training_runs import TINY

    name = "model.language_model.layers.0.mlp.up_proj.weight"
    original = load_file(TINY / "model.safetensors")[name].float()
    held: dict[str, torch.Tensor] = {}
    for kind in ("NF4", "FP4"):
        pieces = assemble(quantization_enabled=True, quantization_type=kind)
        layer = pieces.model.get_base_model().model.language_model.layers[0].mlp.up_proj.base_layer
        state = layer.weight.quant_state
        assert (state.quant_type, state.nested) == (kind.lower(), True)  # nested: the blocks' scales are quantised, too
        assert layer.weight.dtype == torch.uint8
        assert layer.weight.numel() * 2 == original.numel()
        values = dequantize_4bit(layer.weight.data, state).float()
        for block in values.flatten().split(state.blocksize):
            scaled = block / block.abs().max()
            nearest = (scaled[:, None] - state.code[None, :]).abs().min(dim=1).values
            assert float(nearest.max()) < 1e-3
        held[kind] = values
        assert 0 < float((values - original).norm() / original.norm()) < 0.2
    assert float((held["NF4"] - held["FP4"]).abs().max()) > 0.01
    errors = {kind: float((values - original).norm()) for kind, values in held.items()}
    assert errors["NF4"] < errors["FP4"]  # made for weights that are normally distributed
