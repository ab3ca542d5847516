"""How many tokens a picture becomes, from its size alone: what every length of a sample is predicted from."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

_TRIED: Final = 64
"""Edge in pixels of the picture with which a processor's own count is held against what it really writes."""


def patch_edge(processor: Any) -> int | None:
    """Pixels along one edge of an image token, or None where tokens are not patches."""
    images = processor.image_processor
    patch = getattr(images, "patch_size", None)
    return int(patch) * int(getattr(images, "merge_size", 1)) if isinstance(patch, int) else None


def image_tokens(processor: Any, sizes: list[tuple[int, int]]) -> list[int]:
    """How many tokens the pictures of one sample become: what stands in place of each placeholder of the chat text.

    Args:
        processor: the processor.
        sizes: (height, width) of each picture in pixels.
    """
    if not sizes:
        return []
    surplus = _surplus(processor)
    return [count + surplus for count in _counted(processor, sizes)]


def _counted(processor: Any, sizes: list[tuple[int, int]]) -> list[int]:
    if hasattr(processor, "_get_num_multimodal_tokens"):
        return [int(count) for count in processor._get_num_multimodal_tokens(image_sizes=sizes)["num_image_tokens"]]
    # DeepSeek-OCR's processor says how many tiles a picture has, and what it writes for them.
    tiles = [int(processor.image_processor.get_number_of_image_patches(*size)) for size in sizes]
    texts = [processor.replace_image_token({"num_local_patches": [count - 1]}, 0) for count in tiles]
    return [int(text.count(processor.image_token)) for text in texts]


@lru_cache(maxsize=16)
def _surplus(processor: Any) -> int:
    """Tokens that a processor puts around a picture and leaves out of its count (Gemma 4: where it begins and ends)."""
    from PIL import Image

    text = getattr(processor, "image_token", None)
    if not isinstance(text, str):
        return 0
    picture = Image.new("RGB", (_TRIED, _TRIED))
    written = processor(text=[text], images=[picture], add_special_tokens=False)["input_ids"][0]
    return len(written) - _counted(processor, [(_TRIED, _TRIED)])[0]
