"""Entries derived from the files of models that the catalog does not have."""

from __future__ import annotations

import re
from typing import Any

import pytest

from airtune.catalog.derivation import NotDerivableError, derive

CONFIG: dict[str, Any] = {"model_type": "new_vlm", "architectures": ["NewVlm"], "vision_config": {}, "text_config": {}}
TOWER = {"vision_tower.encoder.layers.0.self_attn.q_proj.weight": (64, 64)}
JOINING = {"multi_modal_projector.linear.weight": (64, 64)}
LANGUAGE = {
    "language_model.model.embed_tokens.weight": (500, 64),
    "language_model.model.layers.0.self_attn.q_proj.weight": (64, 64),
    "language_model.model.layers.0.mlp.gate_up_proj.weight": (256, 64),
    "language_model.model.layers.0.input_layernorm.weight": (64,),
    "language_model.lm_head.weight": (500, 64),
}


def derived(*weights: dict[str, tuple[int, ...]], **config: Any) -> Any:
    return derive(CONFIG | config, [each for group in weights for each in group.items()])


def test_parts_targets_and_what_4_bit_skips_follow_from_the_names() -> None:
    entry = derived(TOWER, JOINING, LANGUAGE)
    assert entry.derived
    assert (entry.key, entry.hf_class, entry.packing, entry.modes) == ("newvlm", "NewVlm", False, ("LoRA", "SFT"))
    # Both as older checkpoints and as loaded models name them.
    for name, part in {
        "vision_tower.encoder.layers.0.self_attn.q_proj": "vision",
        "model.vision_tower.encoder.layers.0.self_attn.q_proj": "vision",
        "model.multi_modal_projector.linear": "projector",
        "model.language_model.layers.0.self_attn.q_proj": "language",
        "language_model.model.layers.0.self_attn.q_proj": "language",
        "language_model.lm_head": "head",
        "lm_head": "head",
    }.items():
        assert entry.part_of(name) == part
    assert entry.lora_targets == ("q_proj", "gate_up_proj")
    assert re.fullmatch(entry.lora_target_pattern, "model.language_model.layers.0.self_attn.q_proj")
    assert not re.fullmatch(entry.lora_target_pattern, "model.vision_tower.encoder.layers.0.self_attn.q_proj")
    assert {"model.vision_tower", "model.multi_modal_projector", "lm_head"} <= set(entry.quantization_skip)


def test_a_language_model_that_is_no_module_of_its_own_is_found_and_so_is_a_projector_within_the_tower() -> None:
    # As the published Qwen2-VL has it.
    entry = derived(
        {"visual.blocks.0.attn.qkv.weight": (96, 32), "visual.merger.mlp.0.weight": (64, 64)},
        {"model.embed_tokens.weight": (500, 64), "model.layers.0.self_attn.q_proj.weight": (64, 64),
         "model.norm.weight": (64,), "lm_head.weight": (500, 64)},
    )  # fmt: skip
    assert entry.part_of("model.language_model.layers.0.self_attn.q_proj") == "language"
    assert entry.part_of("model.layers.0.self_attn.q_proj") == "language"
    assert entry.part_of("model.visual.merger.mlp.0") == "vision"
    assert entry.lora_targets == ("q_proj",)


@pytest.mark.parametrize(
    ("weights", "config", "said"),
    [
        ((TOWER, JOINING, LANGUAGE), {"vision_config": None}, "describes no vision encoder"),
        ((TOWER, JOINING, LANGUAGE), {"audio_config": {"layers": 2}}, "describes an audio encoder as well"),
        ((), {}, "names of its weights are not known here"),
        ((JOINING, LANGUAGE), {}, "no vision encoder among language_model, multi_modal_projector"),
        ((TOWER, JOINING), {}, "no language model among"),
        (
            (TOWER, {"vision_model.blocks.0.weight": (64, 64)}, LANGUAGE),
            {},
            r"2 vision encoders \(vision_tower, vision_model\)",
        ),
        ((TOWER, {"speech_encoder.layers.0.weight": (64, 64)}, LANGUAGE), {}, "for something else than pictures"),
        (
            (TOWER, LANGUAGE, {"language_model.layers.0.mlp.experts.gate_up_proj": (4, 8, 8)}),
            {},
            "routes tokens to exp",
        ),
        (
            (TOWER, LANGUAGE, {"mystery.layers.0.weight": (6400, 64)}),
            {},
            r"mystery would be what joins the two, with 8",
        ),
        ((TOWER, {"text_model.layers.0.attn.weight": (64,)}), {}, "no linear layers that LoRA could adapt"),
    ],
)
def test_what_leaves_doubt_is_refused_with_the_reason(weights: Any, config: dict[str, Any], said: str) -> None:
    with pytest.raises(NotDerivableError, match=said):
        derived(*weights, **config)
