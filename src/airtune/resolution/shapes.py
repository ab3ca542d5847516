"""The parameters of a model from its config.json alone: names and shapes, for the families whose code is plain.

Where the weights cannot be looked at (a model of the hub that is not fetched yet), this is as exact as their headers.
Other families are known only by their headers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from airtune.resolution.weights import Tensor

Config = Mapping[str, Any]


def parameters_from(config: Config) -> tuple[Tensor, ...]:
    """Every parameter of the model that transformers builds from this config.json; empty for other families."""
    made = _FAMILIES.get(str(config.get("model_type")))
    return () if made is None else tuple(made(config))


def text_config(config: Config) -> Config:
    """The language model's part of a config.json, wherever it keeps it."""
    found = config.get("text_config") or config.get("llm_config") or config
    return found if isinstance(found, Mapping) else {}


def vision_config(config: Config) -> Config:
    """The vision tower's part; empty where there is none."""
    found = config.get("vision_config")
    return found if isinstance(found, Mapping) else {}


def is_tied(config: Config) -> bool:
    """Whether the output layer is the embeddings'."""
    own, text = config.get("tie_word_embeddings"), text_config(config).get("tie_word_embeddings")
    return bool(text if own is None else own)


def head_dim(text: Config) -> int:
    """Width of one attention head."""
    return int(text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"])


def _decoder(text: Config, *, prefix: str, bias: bool, head_norms: bool) -> Iterator[Tensor]:
    """A decoder of the Llama kind: attention with shared keys, a gated MLP, two norms a layer."""
    hidden, inner = text["hidden_size"], text["intermediate_size"]
    queries = text["num_attention_heads"] * head_dim(text)
    keys = text["num_key_value_heads"] * head_dim(text)
    yield Tensor(f"{prefix}embed_tokens.weight", (text["vocab_size"], hidden))
    for layer in range(text["num_hidden_layers"]):
        at = f"{prefix}layers.{layer}."
        for name, outputs in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
            yield from _linear(f"{at}self_attn.{name}", outputs, hidden, bias=bias)
        yield from _linear(f"{at}self_attn.o_proj", hidden, queries, bias=False)
        if head_norms:
            yield Tensor(f"{at}self_attn.q_norm.weight", (head_dim(text),))
            yield Tensor(f"{at}self_attn.k_norm.weight", (head_dim(text),))
        yield from _linear(f"{at}mlp.gate_proj", inner, hidden, bias=False)
        yield from _linear(f"{at}mlp.up_proj", inner, hidden, bias=False)
        yield from _linear(f"{at}mlp.down_proj", hidden, inner, bias=False)
        yield Tensor(f"{at}input_layernorm.weight", (hidden,))
        yield Tensor(f"{at}post_attention_layernorm.weight", (hidden,))
    yield Tensor(f"{prefix}norm.weight", (hidden,))


def _head(config: Config) -> Iterator[Tensor]:
    text = text_config(config)
    if not is_tied(config):
        yield Tensor("lm_head.weight", (text["vocab_size"], text["hidden_size"]))


def _qwen25(config: Config) -> Iterator[Tensor]:
    text, vision = text_config(config), vision_config(config)
    width, inner, patch = vision["hidden_size"], vision["intermediate_size"], vision["patch_size"]
    depth = (vision.get("in_channels") or 3, vision.get("temporal_patch_size") or 2)
    yield Tensor("model.visual.patch_embed.proj.weight", (width, *depth, patch, patch))
    for block in range(vision["depth"]):
        at = f"model.visual.blocks.{block}."
        yield from _linear(f"{at}attn.qkv", 3 * width, width)
        yield from _linear(f"{at}attn.proj", width, width)
        yield from _linear(f"{at}mlp.gate_proj", inner, width)
        yield from _linear(f"{at}mlp.up_proj", inner, width)
        yield from _linear(f"{at}mlp.down_proj", width, inner)
        yield Tensor(f"{at}norm1.weight", (width,))
        yield Tensor(f"{at}norm2.weight", (width,))
    merged = width * vision["spatial_merge_size"] ** 2
    yield Tensor("model.visual.merger.ln_q.weight", (width,))
    yield from _linear("model.visual.merger.mlp.0", merged, merged)
    yield from _linear("model.visual.merger.mlp.2", vision["out_hidden_size"], merged)
    yield from _decoder(text, prefix="model.language_model.", bias=True, head_norms=False)
    yield from _head(config)


def _qwen3(config: Config) -> Iterator[Tensor]:
    text, vision = text_config(config), vision_config(config)
    width, inner, patch = vision["hidden_size"], vision["intermediate_size"], vision["patch_size"]
    depth = (vision.get("in_channels") or 3, vision.get("temporal_patch_size") or 2)
    yield Tensor("model.visual.patch_embed.proj.weight", (width, *depth, patch, patch))
    yield Tensor("model.visual.patch_embed.proj.bias", (width,))
    yield Tensor("model.visual.pos_embed.weight", (vision["num_position_embeddings"], width))
    for block in range(vision["depth"]):
        at = f"model.visual.blocks.{block}."
        yield from _linear(f"{at}attn.qkv", 3 * width, width)
        yield from _linear(f"{at}attn.proj", width, width)
        yield from _linear(f"{at}mlp.linear_fc1", inner, width)
        yield from _linear(f"{at}mlp.linear_fc2", width, inner)
        yield from _layer_norm(f"{at}norm1", width)
        yield from _layer_norm(f"{at}norm2", width)
    merged = width * vision["spatial_merge_size"] ** 2
    mergers = [f"deepstack_merger_list.{number}" for number in range(len(vision["deepstack_visual_indexes"]))]
    for name in ("merger", *mergers):
        at = f"model.visual.{name}."
        yield from _layer_norm(f"{at}norm", width if name == "merger" else merged)
        yield from _linear(f"{at}linear_fc1", merged, merged)
        yield from _linear(f"{at}linear_fc2", vision["out_hidden_size"], merged)
    yield from _decoder(text, prefix="model.language_model.", bias=bool(text.get("attention_bias")), head_norms=True)
    yield from _head(config)


def _internvl(config: Config) -> Iterator[Tensor]:
    text, vision = text_config(config), vision_config(config)
    width, inner = vision["hidden_size"], vision["intermediate_size"]
    (image, _), (patch, _) = _pair(vision["image_size"]), _pair(vision["patch_size"])
    at = "model.vision_tower.embeddings."
    yield Tensor(f"{at}cls_token", (1, 1, width))
    if vision.get("use_absolute_position_embeddings", True):
        yield Tensor(f"{at}position_embeddings", (1, (image // patch) ** 2 + 1, width))
    yield Tensor(f"{at}patch_embeddings.projection.weight", (width, 3, patch, patch))
    yield Tensor(f"{at}patch_embeddings.projection.bias", (width,))
    bias, norms = bool(vision.get("attention_bias")), bool(vision.get("use_qk_norm"))
    for layer in range(vision["num_hidden_layers"]):
        at = f"model.vision_tower.encoder.layer.{layer}."
        yield Tensor(f"{at}lambda_1", (width,))
        yield Tensor(f"{at}lambda_2", (width,))
        for name in ("q_proj", "k_proj", "v_proj"):
            yield from _linear(f"{at}attention.{name}", width, width, bias=bias)
        yield from _linear(f"{at}attention.projection_layer", width, width)
        if norms:
            yield Tensor(f"{at}attention.q_norm.weight", (width,))
            yield Tensor(f"{at}attention.k_norm.weight", (width,))
        yield from _linear(f"{at}mlp.fc1", inner, width)
        yield from _linear(f"{at}mlp.fc2", width, inner)
        for name in ("layernorm_before", "layernorm_after"):
            if vision.get("norm_type", "layer_norm") == "rms_norm":
                yield Tensor(f"{at}{name}.weight", (width,))
            else:
                yield from _layer_norm(f"{at}{name}", width)
    if not vision.get("use_mean_pooling", True):
        yield from _layer_norm("model.vision_tower.layernorm", width)
    merged = round(width / config.get("downsample_ratio", 0.5) ** 2)
    yield from _layer_norm("model.multi_modal_projector.layer_norm", merged)
    yield from _linear("model.multi_modal_projector.linear_1", text["hidden_size"], merged)
    yield from _linear("model.multi_modal_projector.linear_2", text["hidden_size"], text["hidden_size"])
    kind = text.get("model_type")
    bias = bool(text.get("attention_bias")) or kind == "qwen2"
    yield from _decoder(text, prefix="model.language_model.", bias=bias, head_norms=kind == "qwen3")
    yield from _head(config)


def _llava_next(config: Config) -> Iterator[Tensor]:
    text, vision = text_config(config), vision_config(config)
    width, inner, patch = vision["hidden_size"], vision["intermediate_size"], vision["patch_size"]
    at = "model.vision_tower."
    yield Tensor(f"{at}embeddings.class_embedding", (width,))
    yield Tensor(f"{at}embeddings.patch_embedding.weight", (width, 3, patch, patch))
    yield Tensor(f"{at}embeddings.position_embedding.weight", ((vision["image_size"] // patch) ** 2 + 1, width))
    yield from _layer_norm(f"{at}pre_layrnorm", width)
    for layer in range(vision["num_hidden_layers"]):
        at = f"model.vision_tower.encoder.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _linear(f"{at}self_attn.{name}", width, width)
        yield from _linear(f"{at}mlp.fc1", inner, width)
        yield from _linear(f"{at}mlp.fc2", width, inner)
        yield from _layer_norm(f"{at}layer_norm1", width)
        yield from _layer_norm(f"{at}layer_norm2", width)
    yield from _layer_norm("model.vision_tower.post_layernorm", width)
    yield Tensor("model.image_newline", (text["hidden_size"],))
    bias = bool(config.get("multimodal_projector_bias", True))
    yield from _linear("model.multi_modal_projector.linear_1", text["hidden_size"], width, bias=bias)
    yield from _linear("model.multi_modal_projector.linear_2", text["hidden_size"], text["hidden_size"], bias=bias)
    yield from _decoder(text, prefix="model.language_model.", bias=bool(text.get("attention_bias")), head_norms=False)
    yield from _head(config)


_FAMILIES: Final = {"qwen2_5_vl": _qwen25, "qwen3_vl": _qwen3, "internvl": _internvl, "llava_next": _llava_next}


def _linear(name: str, outputs: int, inputs: int, *, bias: bool = True) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", (outputs, inputs))
    if bias:
        yield Tensor(f"{name}.bias", (outputs,))


def _layer_norm(name: str, width: int) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", (width,))
    yield Tensor(f"{name}.bias", (width,))


def _pair(value: Any) -> tuple[int, int]:
    return (value[0], value[1]) if isinstance(value, (list, tuple)) else (value, value)
