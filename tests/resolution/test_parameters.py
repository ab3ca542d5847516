"""Which numbers a run holds and trains, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from airtune.catalog import registry
from airtune.resolution.module_names import parameters_of
from airtune.resolution.parameters import count, four_bit_bytes, is_exempt, is_linear
from airtune.resolution.weights import Tensor

ENTRY = registry.entry("qwen3vl")
SMALL = (
    Tensor("model.visual.blocks.0.attn.qkv.weight", (192, 64)),
    Tensor("model.visual.merger.linear_fc1.weight", (256, 256)),
    Tensor("model.language_model.embed_tokens.weight", (1000, 64)),
    Tensor("model.language_model.layers.0.self_attn.q_proj.weight", (128, 64)),
    Tensor("model.language_model.layers.0.mlp.down_proj.weight", (64, 192)),
    Tensor("model.language_model.layers.0.input_layernorm.weight", (64,)),
    Tensor("lm_head.weight", (1000, 64)),
)


def test_lora_trains_rank_times_inputs_and_outputs_of_the_language_model_alone(run_of: Any) -> None:
    found = count(run_of(lora_rank=8), ENTRY, SMALL)
    assert found.trained == 8 * (128 + 64) + 8 * (64 + 192) == 3584
    assert {part: numbers.trained for part, numbers in found.parts.items()} == {
        "vision": 0, "projector": 0, "language": 3584, "head": 0,
    }  # fmt: skip
    assert found.weight_bytes == 2 * sum(tensor.parameters for tensor in SMALL)


def test_sft_trains_everything_in_float32(run_of: Any) -> None:
    found = count(run_of(training_mode="SFT"), ENTRY, SMALL)
    everything = sum(tensor.parameters for tensor in SMALL)
    assert (found.trained, found.weight_bytes, found.adapter_parameters) == (everything, 4 * everything, 0)
    # The 16-bit copies of a forward pass: every matrix, but neither embeddings nor norms.
    assert found.cast_bytes == 2 * (everything - 1000 * 64 - 64)


def test_four_bit_reaches_the_language_models_linear_layers_alone(run_of: Any) -> None:
    found = count(run_of(quantization_enabled=True), ENTRY, SMALL)
    assert {part: numbers.quantized for part, numbers in found.parts.items()} == {
        "vision": 0, "projector": 0, "language": 2, "head": 0,
    }  # fmt: skip
    untouched = 2 * (192 * 64 + 256 * 256 + 2 * 1000 * 64 + 64)
    # 8,192 weights: 4,096 bytes, 128 blocks of 64 with a scale of a byte, one scale of 256 of these, codebook and mean.
    assert four_bit_bytes(128 * 64) == 4096 + 128 + 4 + 68
    assert found.weight_bytes == untouched + four_bit_bytes(128 * 64) + four_bit_bytes(64 * 192)


def test_four_bit_takes_half_a_byte_and_its_scales() -> None:
    assert four_bit_bytes(2**24) / 2**24 == pytest.approx(0.5 + 1 / 64 + 4 / (64 * 256), rel=1e-4)


@pytest.mark.parametrize(
    ("module", "skip", "exempt"),
    [
        ("model.visual.blocks.0.attn.qkv", "model.visual", True),
        ("lm_head", "lm_head", True),
        ("model.layers.3.mlp.shared_expert_gate", "shared_expert_gate", True),
        ("model.layers.11.self_attn.q_proj", "model.layers.1", False),
        ("model.layers.1.mlp.gate_proj", "mlp.gate", False),
    ],
)
def test_modules_are_exempt_as_transformers_has_it(module: str, skip: str, exempt: bool) -> None:
    from transformers.quantizers.quantizers_utils import should_convert_module

    assert is_exempt(module, [skip]) is exempt
    assert should_convert_module(module, [skip]) is not exempt


@pytest.mark.parametrize(
    ("name", "shape", "linear"),
    [
        ("model.language_model.layers.0.mlp.up_proj.weight", (8, 4), True),
        ("model.language_model.embed_tokens.weight", (8, 4), False),
        ("model.visual.pos_embed.weight", (8, 4), False),
        ("model.language_model.layers.0.mlp.gate.weight", (8, 4), False),
        ("model.language_model.layers.0.mlp.experts.gate_up_proj", (4, 8, 4), False),
        ("model.visual.patch_embed.proj.weight", (8, 3, 2, 4, 4), False),
        ("model.language_model.norm.weight", (8,), False),
    ],
)
def test_linear_layers_are_told_by_name_and_shape(name: str, shape: tuple[int, ...], linear: bool) -> None:
    assert is_linear(Tensor(name, shape)) is linear


@pytest.mark.parametrize(
    ("model_type", "published", "loaded"),
    [
        ("qwen2_5_vl", "visual.blocks.0.attn.qkv.weight", "model.visual.blocks.0.attn.qkv.weight"),
        ("qwen2_5_vl", "model.layers.0.mlp.up_proj.weight", "model.language_model.layers.0.mlp.up_proj.weight"),
        ("qwen3_vl", "model.language_model.norm.weight", "model.language_model.norm.weight"),
        ("internvl", "language_model.model.norm.weight", "model.language_model.norm.weight"),
        ("internvl", "language_model.lm_head.weight", "lm_head.weight"),
        ("llava_next", "image_newline", "model.image_newline"),
        ("llava_next", "vision_tower.vision_model.pre_layrnorm.bias", "model.vision_tower.pre_layrnorm.bias"),
        ("deepseek_ocr2", "model.layers.0.mlp.up_proj.weight", "model.language_model.layers.0.mlp.up_proj.weight"),
    ],
)  # fmt: skip
def test_published_names_become_those_of_the_loaded_model(model_type: str, published: str, loaded: str) -> None:
    assert [each.name for each in parameters_of([Tensor(published, (2, 2))], model_type, tied=False)] == [loaded]


def test_experts_kept_one_by_one_are_one_parameter_of_the_loaded_model() -> None:
    at = "model.language_model.layers.0.mlp.experts"
    single = [
        Tensor(f"{at}.{number}.{name}.weight", (64, 192) if name == "down_proj" else (192, 64))
        for number in range(4)
        for name in ("gate_proj", "up_proj", "down_proj")
    ]
    assert {each.name: each.shape for each in parameters_of(single, "qwen3_5_moe", tied=False)} == {
        f"{at}.gate_up_proj": (4, 384, 64),
        f"{at}.down_proj": (4, 64, 192),
    }


def test_a_tied_output_layer_is_no_parameter_of_its_own() -> None:
    head = [Tensor("lm_head.weight", (10, 4)), Tensor("model.language_model.embed_tokens.weight", (10, 4))]
    assert len(parameters_of(head, "qwen3_vl", tied=True)) == 1
    assert len(parameters_of(head, "qwen3_vl", tied=False)) == 2
