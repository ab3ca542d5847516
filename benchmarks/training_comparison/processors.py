"""Real processors for models with random weights: each architecture's own, around the tokenizer of the tiny base.

What a picture costs depends on the processor: Qwen3-VL makes one token of 32 x 32 pixels, Qwen2.5-VL of 28 x 28,
InternVL makes 256 tokens of each square tile. So each model is compared with the one that it is published with.
"""

from __future__ import annotations

from typing import Any

_PICTURE = {"shortest_edge": 64 * 64, "longest_edge": 1024 * 1024}
_INTERNVL = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
_QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
_QWEN_VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"


def qwen3vl() -> Any:
    """The tiny base's own, with the published patches and larger pictures."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(_tiny_base(), local_files_only=True)
    for each in (processor.image_processor, processor.video_processor):
        each.patch_size = 16
    processor.image_processor.size = dict(_PICTURE)
    return processor


def qwen25vl() -> Any:
    """Qwen2.5-VL's: patches of 14 x 14 pixels, four of them a token."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    other = qwen3vl()
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=dict(_PICTURE), patch_size=14),
        video_processor=Qwen2VLVideoProcessor(patch_size=14),
        tokenizer=other.tokenizer,
        chat_template=other.chat_template,
    )


def internvl() -> Any:
    """InternVL3.5's: square tiles of 448 x 448 pixels, at most twelve and the whole picture once more."""
    from transformers import AutoTokenizer, GotOcr2ImageProcessor, InternVLProcessor, InternVLVideoProcessor

    tokenizer = AutoTokenizer.from_pretrained(_tiny_base(), local_files_only=True, extra_special_tokens=dict(_INTERNVL))
    size = {"height": 448, "width": 448}
    template = qwen3vl().chat_template
    return InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=size, crop_to_patches=True, min_patches=1, max_patches=12),
        video_processor=InternVLVideoProcessor(size=size),
        tokenizer=tokenizer,
        image_seq_length=256,
        chat_template=template.replace(_QWEN_IMAGE, "<IMG_CONTEXT>\\n").replace(_QWEN_VIDEO, "<video>\\n"),
    )


def _tiny_base() -> str:
    from airtune.configs import configs_root

    return str(configs_root() / "demo" / "tiny-vlm")
