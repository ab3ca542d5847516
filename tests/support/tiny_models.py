"""A tiny random instance of each architecture of the catalog, with a real processor: ``make_tiny("qwen3vl", folder)``.

0.1 to 0.5 million parameters in float32. Nothing is learned: weights are drawn with deviation 1/sqrt(fan in), so that
a picture's signal reaches the output at these widths. The language models' widths are multiples of 64, because
bitsandbytes' 4-bit kernels for CPUs refuse others.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_text import GEMMA4, IDEFICS, LLAMA3, PLAIN, chatml, numbers, tokenizer

HIDDEN = 64

_MEANS: dict[str, Any] = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}

Made = tuple[Any, Any, list[int]]
"""Model, processor, and the tokens at which it stops."""


def make_tiny(key: str, folder: Path, *, seed: int = 0) -> Path:
    """Writes a tiny model of an architecture, with everything needed to load and train it.

    Args:
        key: of the catalog, or one of :data:`EXTRA`.
        folder: is made.
        seed: of the weights.

    Returns:
        The folder.
    """
    import torch
    from transformers import GenerationConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor, stops = BUILDERS[key]()
        _draw_weights(model)
        model.tie_weights()
    model.generation_config = GenerationConfig(
        eos_token_id=stops if len(stops) > 1 else stops[0], pad_token_id=processor.tokenizer.pad_token_id,
        bos_token_id=processor.tokenizer.bos_token_id, do_sample=False,
    )  # fmt: skip
    model.save_pretrained(str(folder))
    processor.save_pretrained(str(folder))
    return folder


def _draw_weights(model: Any) -> None:
    import torch
    from torch import nn

    experts = {id(p) for name, p in model.named_parameters() if p.dim() == 3 and "experts" in name}
    with torch.no_grad():
        for module in model.modules():
            for parameter in module.parameters(recurse=False):
                if parameter.dim() < 2:
                    continue
                fan_in = parameter.shape[-1] if id(parameter) in experts else parameter[0].numel()
                if isinstance(module, nn.Embedding):
                    fan_in = parameter.shape[-1]
                parameter.normal_(0.0, fan_in**-0.5)


def _text(made: Any, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(made), "hidden_size": HIDDEN, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 8192,
        "pad_token_id": made.pad_token_id, "eos_token_id": made.eos_token_id, "bos_token_id": made.bos_token_id, **more,
    }  # fmt: skip


# ---- the Qwen family ------------------------------------------------------------------------------------------------

_QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
_QWEN_VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"


def _qwen(model: str, config: str, video: str, text: dict[str, Any], vision: dict[str, Any], opening: str = "") -> Made:
    import transformers

    names = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    made = tokenizer(eos="<|im_end|>", pad="<|endoftext|>", special=["<|im_start|>", *names])
    start, end, image_id, video_id = numbers(made, *names)
    common = {
        "patch_size": 8, "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": HIDDEN, "depth": 2,
        "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "in_channels": 3,
    }  # fmt: skip
    configured = getattr(transformers, config)(
        text_config=_text(made, **text), vision_config=common | vision, tie_word_embeddings=True,
        image_token_id=image_id, video_token_id=video_id, vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip
    sees = {"patch_size": 8, "merge_size": 2, "temporal_patch_size": 2, **_MEANS}
    images = transformers.Qwen2VLImageProcessor(size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64}, **sees)
    films = getattr(transformers, video)(size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64 * 8}, **sees)
    kind = "Qwen2_5_VLProcessor" if model.startswith("Qwen2_5") else "Qwen3VLProcessor"
    template = chatml(image=_QWEN_IMAGE, video=_QWEN_VIDEO, opening=opening)
    processor = getattr(transformers, kind)(
        image_processor=images, video_processor=films, tokenizer=made, chat_template=template
    )
    return getattr(transformers, model)(configured), processor, numbers(made, "<|im_end|>", "<|endoftext|>")


def _rope(sections: list[int], **more: Any) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": sections, **more}


def qwen25vl() -> Made:
    text = {"rope_parameters": _rope([4, 6, 6]), "tie_word_embeddings": True}
    return _qwen(
        "Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLConfig", "Qwen2VLVideoProcessor", text,
        {"window_size": 32, "fullatt_block_indexes": [1], "tokens_per_second": 2},
    )  # fmt: skip


def qwen3vl() -> Made:
    text = {"rope_parameters": _rope([6, 5, 5], mrope_interleaved=True), "tie_word_embeddings": True}
    return _qwen(
        "Qwen3VLForConditionalGeneration", "Qwen3VLConfig", "Qwen3VLVideoProcessor", text,
        {"num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
    )  # fmt: skip


_HYBRID: dict[str, Any] = {
    "layer_types": ["linear_attention", "full_attention"], "linear_key_head_dim": 16, "linear_value_head_dim": 16,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "tie_word_embeddings": True,
}  # fmt: skip


def qwen35() -> Made:
    rope = _rope([2, 1, 1], mrope_interleaved=True, partial_rotary_factor=0.25)
    return _qwen(
        "Qwen3_5ForConditionalGeneration", "Qwen3_5Config", "Qwen3VLVideoProcessor",
        _HYBRID | {"rope_parameters": rope}, {"num_position_embeddings": 16}, opening="<think>\n\n</think>\n\n",
    )  # fmt: skip


def qwen36() -> Made:
    rope = _rope([2, 1, 1], mrope_interleaved=True, partial_rotary_factor=0.25)
    experts = {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "shared_expert_intermediate_size": 64,
    }  # fmt: skip
    return _qwen(
        "Qwen3_5MoeForConditionalGeneration", "Qwen3_5MoeConfig", "Qwen3VLVideoProcessor",
        _HYBRID | experts | {"rope_parameters": rope}, {"num_position_embeddings": 16},
        opening="<think>\n\n</think>\n\n",
    )  # fmt: skip


# ---- the others -----------------------------------------------------------------------------------------------------


def internvl35() -> Made:
    import transformers

    made = tokenizer(
        eos="<|im_end|>", pad="<|endoftext|>", special=["<|im_start|>"],
        named={"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
               "video_token": "<video>"},
    )  # fmt: skip
    config = transformers.InternVLConfig(
        text_config=_text(made, model_type="qwen3", tie_word_embeddings=True),
        vision_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                       "image_size": [32, 32], "patch_size": [8, 8]},
        image_token_id=numbers(made, "<IMG_CONTEXT>")[0], image_seq_length=4, tie_word_embeddings=True,
    )  # fmt: skip
    size = {"height": 32, "width": 32}
    processor = transformers.InternVLProcessor(
        image_processor=transformers.GotOcr2ImageProcessor(size=size, crop_to_patches=True, max_patches=4, **_MEANS),
        video_processor=transformers.InternVLVideoProcessor(size=size, **_MEANS),
        tokenizer=made, image_seq_length=4, chat_template=chatml(image="<IMG_CONTEXT>\\n", video="<video>\\n"),
    )  # fmt: skip
    return transformers.InternVLForConditionalGeneration(config), processor, numbers(made, "<|im_end|>")


def llavanext() -> Made:
    import transformers

    made = tokenizer(
        eos="<|eot_id|>", pad="<pad>", bos="<|begin_of_text|>", adds_bos=True,
        special=["<|start_header_id|>", "<|end_header_id|>"], named={"image_token": "<image>"},
    )  # fmt: skip
    pinpoints = [[32, 64], [64, 32], [64, 64]]
    config = transformers.LlavaNextConfig(
        text_config=_text(made, model_type="llama"),
        vision_config={"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64,
                       "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32, "patch_size": 8},
        image_token_index=numbers(made, "<image>")[0], image_grid_pinpoints=pinpoints, image_seq_length=16,
    )  # fmt: skip
    images = transformers.LlavaNextImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=pinpoints, **_MEANS
    )
    processor = transformers.LlavaNextProcessor(
        image_processor=images, tokenizer=made, patch_size=8, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=LLAMA3,
    )  # fmt: skip
    return transformers.LlavaNextForConditionalGeneration(config), processor, numbers(made, "<|eot_id|>")


def gemma4() -> Made:
    """Like E2B: embeddings per layer, layers that share keys and values, an audio tower."""
    audio = {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "subsampling_conv_channels": [8, 4],
        "output_proj_dims": 32, "attention_chunk_size": 4, "attention_context_left": 5,
    }  # fmt: skip
    return _gemma4(
        {"hidden_size_per_layer_input": 64, "num_kv_shared_layers": 2, "use_double_wide_mlp": True}, audio=audio
    )


def gemma4_with_experts() -> Made:
    """Like 26B-A4B: experts, keys that serve as values, pictures seen in both directions, no audio tower."""
    experts = {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 64}
    return _gemma4(
        experts
        | {"hidden_size_per_layer_input": 0, "attention_k_eq_v": True, "use_bidirectional_attention": "vision",
           "num_global_key_value_heads": 1},
        audio=None,
    )  # fmt: skip


def _gemma4(text: dict[str, Any], audio: dict[str, Any] | None) -> Made:
    import transformers

    named = {"image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>"}
    named |= {"audio_token": "<|audio|>", "boa_token": "<|audio>", "eoa_token": "<audio|>"}
    made = tokenizer(
        eos="<eos>", pad="<pad>", bos="<bos>", special=["<|turn>", "<turn|>", "<|video|>"], named=named
    )  # fmt: skip
    ids = dict(zip(named, numbers(made, *named.values()), strict=True))
    layers = ["sliding_attention", "full_attention"] * 2
    config = transformers.Gemma4Config(
        text_config=_text(
            made, num_hidden_layers=4, layer_types=layers, global_head_dim=64, sliding_window=48,
            vocab_size_per_layer_input=len(made), final_logit_softcapping=30.0, tie_word_embeddings=True, **text
        ),
        vision_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                       "num_key_value_heads": 2, "head_dim": 16, "patch_size": 4, "pooling_kernel_size": 3,
                       "position_embedding_size": 64},
        audio_config=audio, image_token_id=ids["image_token"], boi_token_id=ids["boi_token"],
        eoi_token_id=ids["eoi_token"], audio_token_id=ids["audio_token"], boa_token_id=ids["boa_token"],
        eoa_token_index=ids["eoa_token"], video_token_id=numbers(made, "<|video|>")[0], tie_word_embeddings=True,
    )  # fmt: skip
    sees = {"patch_size": 4, "pooling_kernel_size": 3, "max_soft_tokens": 70}
    processor = transformers.Gemma4Processor(
        feature_extractor=transformers.Gemma4AudioFeatureExtractor(),
        image_processor=transformers.Gemma4ImageProcessor(**sees),
        video_processor=transformers.Gemma4VideoProcessor(num_frames=2, **sees),
        tokenizer=made, image_seq_length=70, chat_template=GEMMA4,
    )  # fmt: skip
    return transformers.Gemma4ForConditionalGeneration(config), processor, numbers(made, "<eos>", "<turn|>")


def deepseekocr() -> Made:
    """The native class. Its queries are made for 64x64 and 48x48 patches, which here are of 4 pixels instead of 16."""
    import transformers

    made = tokenizer(eos="<end>", pad="<pad>", bos="<begin>", adds_bos=True, named={"image_token": "<image>"})
    encoder = {
        "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }  # fmt: skip
    sam = {
        "hidden_size": 16, "output_channels": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 256,
        "patch_size": 4, "mlp_dim": 32, "global_attn_indexes": [], "downsample_channels": [16, 64],
    }  # fmt: skip
    text = _text(made, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=64, n_shared_experts=1,
                 mlp_layer_types=["dense", "sparse"], num_key_value_heads=2)  # fmt: skip
    config = transformers.DeepseekOcr2Config(
        text_config=text, vision_config={"sam_config": sam, "encoder_config": encoder},
        image_token_id=numbers(made, "<image>")[0],
    )  # fmt: skip
    images = transformers.DeepseekOcr2ImageProcessor(size={"height": 256, "width": 256}, tile_size=192, **_MEANS)
    processor = transformers.DeepseekOcr2Processor(
        image_processor=images, tokenizer=made, patch_size=4, downsample_ratio=4, chat_template=PLAIN
    )
    return transformers.DeepseekOcr2ForConditionalGeneration(config), processor, numbers(made, "<end>")


def nvila() -> Made:
    import transformers

    from airtune.modeling.nvila import nvila_classes

    classes = nvila_classes()
    made = tokenizer(
        eos="<|im_end|>", pad="<|endoftext|>", special=["<|im_start|>"],
        named={"image_token": "<image>", "video_token": "<vila/video>"},
    )  # fmt: skip
    image_id, video_id = numbers(made, "<image>", "<vila/video>")
    # 32x32 patches become the 121 tokens that the processor counts on, whatever the size of a patch.
    vision = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 1, "image_size": 64,
        "patch_size": 2,
    }  # fmt: skip
    config = classes.config(
        text_config=_text(made), vision_config=vision, image_token_id=image_id, video_token_id=video_id
    )
    images = transformers.SiglipImageProcessor(size={"height": 64, "width": 64}, **_MEANS)
    processor = classes.processor(images, made, chat_template=chatml(image="<image>"))
    return classes.model(config), processor, numbers(made, "<|im_end|>")


# ---- not in the catalog ---------------------------------------------------------------------------------------------


def idefics3() -> Made:
    import transformers

    special = ["<|im_start|>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"]
    special += [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    made = tokenizer(eos="<end_of_utterance>", pad="<pad>", special=special, named={"image_token": "<image>"})
    config = transformers.Idefics3Config(
        text_config=_text(made, model_type="llama"),
        vision_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                       "image_size": 32, "patch_size": 8},
        scale_factor=2, image_token_id=numbers(made, "<image>")[0], pad_token_id=made.pad_token_id,
    )  # fmt: skip
    images = transformers.Idefics3ImageProcessor(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, **_MEANS
    )
    processor = transformers.Idefics3Processor(
        image_processor=images, tokenizer=made, image_seq_len=4, chat_template=IDEFICS
    )
    return transformers.Idefics3ForConditionalGeneration(config), processor, numbers(made, "<end_of_utterance>")


BUILDERS: dict[str, Callable[[], Made]] = {
    "qwen25vl": qwen25vl, "cosmosreason1": qwen25vl, "qwen3vl": qwen3vl, "cosmosreason2": qwen3vl,
    "internvl35": internvl35, "llavanext": llavanext, "qwen35": qwen35, "qwen36": qwen36, "gemma4": gemma4,
    "gemma4-experts": gemma4_with_experts, "deepseekocr": deepseekocr, "nvila": nvila, "idefics3": idefics3,
}  # fmt: skip

EXTRA = ("gemma4-experts", "idefics3")
"""Instances that are no entry of their own: another size of an entry, and a model type that no entry knows."""
