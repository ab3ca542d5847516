"""Randomly initialised base models with real processors: nothing is fetched, and no answer is learnt beforehand.

The large ones have the published configurations; their tokenizer is the tiny base's, so that the texts are a little
longer in tokens than they would be with the published one, for both sides alike. The embedding tables have the
published sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training_comparison import processors

QWEN_ROPE = {
    "rope_type": "default",
    "rope_theta": 5_000_000.0,
    "mrope_section": [24, 20, 20],
    "mrope_interleaved": True,
}
WIDTH = 512


@dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
        architecture: its catalog key.
        config: makes its configuration, given the tokenizer.
        processor: makes its processor.
    """

    architecture: str
    config: Callable[[Any], Any]
    processor: Callable[[], Any]


def make_base_model(name: str, seed: int, folder: Path) -> Any:
    """Writes config, weights and processor of the model ``name`` into ``folder``; returns its processor."""
    import torch
    from transformers import AutoModelForImageTextToText, GenerationConfig

    from airtune.modeling.loading import quietly

    model = MODELS[name]
    with quietly():
        processor = model.processor()
        torch.manual_seed(seed)
        tokenizer = processor.tokenizer
        config = model.config(tokenizer)
        large = config.get_text_config().hidden_size > WIDTH
        with torch.device("cuda" if large and torch.cuda.is_available() else "cpu"):
            made = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16 if large else torch.float32)
        made.generation_config = GenerationConfig(
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
        )
        made.save_pretrained(folder)
        processor.save_pretrained(folder)
    return processor


def _token_ids(tokenizer: Any) -> dict[str, int]:
    return {
        "image_token_id": tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        "video_token_id": tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        "vision_start_token_id": tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    }


def _qwen3vl_30m(tokenizer: Any) -> Any:
    """30 million parameters: 24 in the 6 layers of the language model, 6 in vision tower and projector."""
    from transformers import Qwen3VLConfig

    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 2048,
            "num_hidden_layers": 6,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 64,
            "max_position_embeddings": 16_384,
            "rope_parameters": {**QWEN_ROPE, "rope_theta": 10_000.0, "mrope_section": [12, 10, 10]},
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={
            "depth": 6,
            "hidden_size": 192,
            "intermediate_size": 768,
            "num_heads": 6,
            "patch_size": 16,
            "out_hidden_size": WIDTH,
            "num_position_embeddings": 1024,
            "deepstack_visual_indexes": [1, 3],
        },
        tie_word_embeddings=True,
        **_token_ids(tokenizer),
    )


def _qwen3vl_8b(tokenizer: Any) -> Any:
    """Qwen/Qwen3-VL-8B-Instruct."""
    from transformers import Qwen3VLConfig

    return Qwen3VLConfig(
        text_config={
            "vocab_size": 151_936,
            "hidden_size": 4096,
            "intermediate_size": 12_288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 262_144,
            "rope_parameters": QWEN_ROPE,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={
            "depth": 27,
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_heads": 16,
            "patch_size": 16,
            "out_hidden_size": 4096,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [8, 16, 24],
        },
        tie_word_embeddings=False,
        **_token_ids(tokenizer),
    )


def _qwen3vl_4b(tokenizer: Any) -> Any:
    """Qwen/Qwen3-VL-4B-Instruct."""
    config = _qwen3vl_8b(tokenizer)
    text, vision = config.text_config, config.vision_config
    text.hidden_size, text.intermediate_size = vision.out_hidden_size, _ = 2560, 9728
    vision.depth, vision.hidden_size, vision.intermediate_size = 24, 1024, 4096
    vision.deepstack_visual_indexes = [5, 11, 17]
    config.tie_word_embeddings = True
    return config


def _qwen25vl_7b(tokenizer: Any) -> Any:
    """Qwen/Qwen2.5-VL-7B-Instruct."""
    from transformers import Qwen2_5_VLConfig

    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 152_064,
            "hidden_size": 3584,
            "intermediate_size": 18_944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "max_position_embeddings": 128_000,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [16, 24, 24]},
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584},
        tie_word_embeddings=False,
        **_token_ids(tokenizer),
    )


def _internvl35_8b(tokenizer: Any) -> Any:
    """OpenGVLab/InternVL3_5-8B-HF."""
    from transformers import InternVLConfig

    return InternVLConfig(
        text_config={
            "model_type": "qwen3",
            "vocab_size": 151_936,
            "hidden_size": 4096,
            "intermediate_size": 12_288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 40_960,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "attention_bias": True,
            "image_size": [448, 448],
            "patch_size": [14, 14],
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=256,
        tie_word_embeddings=False,
    )


def _qwen25vl_30m(tokenizer: Any) -> Any:
    """As :func:`_qwen3vl_30m`, of the other architecture."""
    config = _qwen25vl_7b(tokenizer)
    text, vision = config.text_config, config.vision_config
    text.vocab_size, text.hidden_size, text.intermediate_size = len(tokenizer), WIDTH, 2048
    text.num_hidden_layers, text.num_attention_heads, text.num_key_value_heads = 6, 8, 4
    text.layer_types = text.layer_types[:6]
    text.rope_parameters = {**text.rope_parameters, "rope_theta": 10_000.0, "mrope_section": [8, 12, 12]}
    vision.depth, vision.hidden_size, vision.intermediate_size, vision.num_heads = 6, 192, 768, 6
    vision.out_hidden_size, vision.fullatt_block_indexes = WIDTH, [1, 3, 5]
    config.tie_word_embeddings = text.tie_word_embeddings = True
    return config


def _internvl35_30m(tokenizer: Any) -> Any:
    """As :func:`_qwen3vl_30m`, of the other architecture."""
    config = _internvl35_8b(tokenizer)
    text, vision = config.text_config, config.vision_config
    text.vocab_size, text.hidden_size, text.intermediate_size = len(tokenizer), WIDTH, 2048
    text.num_hidden_layers, text.num_attention_heads, text.num_key_value_heads, text.head_dim = 6, 8, 4, 64
    text.layer_types = text.layer_types[:6]
    vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers, vision.num_attention_heads = 192, 768, 6, 6
    config.tie_word_embeddings = text.tie_word_embeddings = True
    return config


MODELS = {
    "qwen3vl-30m": Model("qwen3vl", _qwen3vl_30m, processors.qwen3vl),
    "qwen25vl-30m": Model("qwen25vl", _qwen25vl_30m, processors.qwen25vl),
    "internvl35-30m": Model("internvl35", _internvl35_30m, processors.internvl),
    "qwen3vl-4b": Model("qwen3vl", _qwen3vl_4b, processors.qwen3vl),
    "qwen3vl-8b": Model("qwen3vl", _qwen3vl_8b, processors.qwen3vl),
    "qwen25vl-7b": Model("qwen25vl", _qwen25vl_7b, processors.qwen25vl),
    "internvl35-8b": Model("internvl35", _internvl35_8b, processors.internvl),
}
"""What can be compared, by the name on the command line."""
