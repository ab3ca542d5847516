"""What the tiny base model is made of: tokenizer, chat template, processors, architecture, and how they are saved."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_vlm_lessons import tokenizer_text
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from airtune.datasets.drawn.shapes import SIDE

PATCH = 8
MERGE = 2
CELLS = SIDE // (PATCH * MERGE)
IMAGE_TOKENS = CELLS * CELLS
VOCABULARY = 768
# The widths of the language model are multiples of 64: bitsandbytes' 4-bit kernels for CPUs refuse others.
HIDDEN = 64
MLP = 192
VISION_HIDDEN = 64

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
SPECIAL_TOKENS = (
    END_OF_TEXT,
    TURN_START,
    TURN_END,
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

# Words, single digits, runs of punctuation, white space: digits stay apart so that numbers are spelled alike.
WORD_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"

CHAT_TEMPLATE = """\
{%- macro content_of(content) -%}
    {%- if content is string -%}
        {{- content -}}
    {%- else -%}
        {%- for part in content -%}
            {%- if part.type == 'image' or 'image' in part or 'image_url' in part -%}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
            {%- elif part.type == 'video' or 'video' in part -%}
                {{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
            {%- elif 'text' in part -%}
                {{- part.text -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\\n' + content_of(message.content) + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: any Unicode text is encoded without an unknown token and decoded unchanged."""
    tokenizer = Tokenizer(models.BPE())
    # No normaliser: composed and decomposed letters must both survive a round trip.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(tokenizer_text(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        extra_special_tokens=[token for token in SPECIAL_TOKENS if token not in (END_OF_TEXT, TURN_END)],
        clean_up_tokenization_spaces=False,
        model_max_length=16_384,
        padding_side="left",
    )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLProcessor:
    """Tokenizer, chat template, and image and video processors with the limits of the tiny vision tower."""
    vision = {
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(
            size={"shortest_edge": SIDE * SIDE, "longest_edge": 4 * SIDE * SIDE}, **vision
        ),
        video_processor=Qwen3VLVideoProcessor(
            size={"shortest_edge": 2 * SIDE * SIDE, "longest_edge": 32 * SIDE * SIDE},
            max_frames=32,
            cap_pixels_per_frame=True,
            **vision,
        ),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3VLForConditionalGeneration:
    """The architecture with weights to start from."""
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": HIDDEN,
            "intermediate_size": MLP,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "max_position_embeddings": 16_384,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
            "pad_token_id": ids[END_OF_TEXT],
            "eos_token_id": ids[TURN_END],
        },
        vision_config={
            "depth": 3,
            "hidden_size": VISION_HIDDEN,
            "intermediate_size": 128,
            "num_heads": 4,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "out_hidden_size": HIDDEN,
            "num_position_embeddings": (SIDE // PATCH) ** 2,
            "deepstack_visual_indexes": [1],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
        pad_token_id=ids[END_OF_TEXT],
        eos_token_id=ids[TURN_END],
    )
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config)
    scale_initial_weights(model)
    model.tie_weights()
    model.generation_config = GenerationConfig(
        eos_token_id=ids[TURN_END], pad_token_id=ids[END_OF_TEXT], do_sample=False, max_new_tokens=128
    )
    return model


@torch.no_grad()
def scale_initial_weights(model: Qwen3VLForConditionalGeneration) -> None:
    """Draw the weights with deviation 1/sqrt(fan in).

    The usual 0.02 is made for widths of thousands: at a width of 64 the signal of a picture is gone after two layers.
    Position embeddings get 0.5, near the size of a patch's own signal, so that places differ from the first step.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv3d):
            module.weight.normal_(0.0, module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.Embedding):
            module.weight.normal_(0.0, module.embedding_dim**-0.5)
    model.model.visual.pos_embed.weight.normal_(0.0, 0.5)


def save(model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, folder: Path) -> None:
    """Write the model (as bfloat16, half the size) and everything needed to load it into `folder`."""
    copy = Qwen3VLForConditionalGeneration(model.config)
    copy.load_state_dict(model.state_dict())
    copy.tie_weights()
    copy.generation_config = model.generation_config
    copy.to(torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)
