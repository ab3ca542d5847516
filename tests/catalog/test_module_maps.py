"""The catalog's module maps, held against transformers' own classes (made without weights)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from airtune.catalog.registry import load_catalog

TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
}


def qwen25vl() -> nn.Module:
    config = transformers.Qwen2_5_VLConfig(text_config=TEXT, vision_config={"depth": 2})
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def qwen3vl() -> nn.Module:
    config = transformers.Qwen3VLConfig(text_config=TEXT, vision_config={"depth": 2, "deepstack_visual_indexes": [1]})
    return transformers.Qwen3VLForConditionalGeneration(config)


def internvl35() -> nn.Module:
    config = transformers.InternVLConfig(
        text_config=TEXT | {"model_type": "qwen3"}, vision_config={"num_hidden_layers": 2}
    )
    return transformers.InternVLForConditionalGeneration(config)


def llavanext() -> nn.Module:
    config = transformers.LlavaNextConfig(text_config=TEXT | {"model_type": "llama"})
    return transformers.LlavaNextForConditionalGeneration(config)


def qwen35() -> nn.Module:
    config = transformers.Qwen3_5Config(text_config=TEXT, vision_config={"depth": 2})
    return transformers.Qwen3_5ForConditionalGeneration(config)


def qwen36() -> nn.Module:
    config = transformers.Qwen3_5MoeConfig(
        text_config=TEXT | {"num_experts": 4, "num_experts_per_tok": 2}, vision_config={"depth": 2}
    )
    return transformers.Qwen3_5MoeForConditionalGeneration(config)


def gemma4(**text: Any) -> nn.Module:
    from transformers.models.gemma4 import Gemma4AudioConfig, Gemma4VisionConfig

    config = transformers.Gemma4Config(
        text_config=TEXT | text,
        vision_config=Gemma4VisionConfig(num_hidden_layers=2).to_dict(),
        audio_config=Gemma4AudioConfig(num_hidden_layers=2).to_dict(),
    )
    return transformers.Gemma4ForConditionalGeneration(config)


def gemma4_with_experts() -> nn.Module:
    return gemma4(enable_moe_block=True, num_experts=4, top_k_experts=2, moe_intermediate_size=32)


def deepseekocr() -> nn.Module:
    encoder = {key: value for key, value in TEXT.items() if key != "vocab_size"}
    config = transformers.DeepseekOcr2Config(
        text_config=TEXT | {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
                            "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"]},
        vision_config={"sam_config": {"num_hidden_layers": 2}, "encoder_config": encoder},
    )  # fmt: skip
    return transformers.DeepseekOcr2ForConditionalGeneration(config)


def nvila() -> nn.Module:
    module = pytest.importorskip("vi.inference.loaders.architectures.nvila.modeling")
    configuration = pytest.importorskip("vi.inference.loaders.architectures.nvila.configuration")
    config = configuration.NVILALiteConfig(text_config=TEXT)
    config.dtype = torch.float32
    return dict.__getitem__(vars(module), "NVILALiteForConditionalGeneration")(config)


MODELS: list[tuple[str, Callable[[], nn.Module]]] = [
    ("qwen25vl", qwen25vl),
    ("cosmosreason1", qwen25vl),
    ("qwen3vl", qwen3vl),
    ("cosmosreason2", qwen3vl),
    ("internvl35", internvl35),
    ("llavanext", llavanext),
    ("qwen35", qwen35),
    ("qwen36", qwen36),
    ("gemma4", gemma4),
    ("gemma4", gemma4_with_experts),
    ("deepseekocr", deepseekocr),
    ("nvila", nvila),
]


def test_every_entry_is_held_against_its_class() -> None:
    assert {key for key, _ in MODELS} == set(load_catalog())


def linears(model: nn.Module) -> Iterator[str]:
    return (name for name, module in model.named_modules() if isinstance(module, nn.Linear))


@pytest.fixture(params=MODELS, ids=lambda param: param[1].__name__ if param[1].__name__ != "qwen3vl" else param[0])
def case(request: pytest.FixtureRequest) -> tuple[Any, nn.Module]:
    key, make = request.param
    with torch.device("meta"):
        return load_catalog()[key], make()


def test_parts_lora_and_four_bit_reach_what_they_should(case: tuple[Any, nn.Module]) -> None:
    entry, model = case
    # Every parameter belongs to exactly one part, and each part has some.
    parts: dict[str, set[str]] = {}
    for name, _ in model.named_parameters():
        part = entry.part_of(name)
        assert part is not None, name
        parts.setdefault(part, set()).add(name)
    assert set(parts) - {"head"} == {"language", "vision", "projector"}  # a tied head has no parameter of its own
    assert [entry.part_of(name) for name in linears(model) if name.endswith("lm_head")] == ["head"]
    if entry.key != "nvila":
        assert entry.hf_class == type(model).__name__
        assert model.config.model_type in entry.model_types

    # LoRA reaches linear layers of the language model only, each of its targets exists, and none is left behind
    # but the gates that choose experts or feed per-layer embeddings.
    adapted = {name for name, _ in model.named_modules() if re.fullmatch(entry.lora_target_pattern, name)}
    assert adapted <= set(linears(model))
    assert {entry.part_of(name) for name in adapted} == {"language"}
    assert {name.rsplit(".", 1)[-1] for name in adapted} == set(entry.lora_targets)
    left = {name.rsplit(".", 1)[-1] for name in linears(model) if entry.part_of(name) == "language"} - set(
        entry.lora_targets
    )
    assert left <= {
        "in_proj_a", "in_proj_b", "shared_expert_gate", "proj",
        "per_layer_input_gate", "per_layer_projection", "per_layer_model_projection",
    }  # fmt: skip

    # Routed experts are no linear layers: LoRA adapts their fused tensors, all of them.
    fused = {name for name, p in model.named_parameters() if p.dim() == 3 and "experts" in name}
    assert fused == {
        name
        for name, _ in model.named_parameters()
        if name.endswith(tuple(f".{last}" for last in entry.lora_experts)) and entry.part_of(name) == "language"
    }

    # In 4 bit, everything outside the language model stays as it is.
    from transformers.quantizers.quantizers_utils import should_convert_module

    converted = {name for name in linears(model) if should_convert_module(name, list(entry.quantization_skip))}
    assert {entry.part_of(name) for name in converted} == {"language"}
    assert adapted <= converted
