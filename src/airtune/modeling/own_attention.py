"""Attention of our own under a name of the library's: for the language model, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Undo = Callable[[], None]


def go_by(model: Any, name: str, attention: Callable[..., Any]) -> Undo:
    """Has the language model of a model compute attention by a function from now on.

    Masks that the library makes itself are those of its SDPA attention.

    Args:
        model: the model, with adapters or without.
        name: under which the library finds the function.
        attention: as the library calls it; with a mask that is not of ours it has to do what SDPA does.

    Returns:
        How to go back to the attention of before.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, sdpa_mask)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = base.config.get_text_config()._attn_implementation
    base.set_attn_implementation({"text_config": name})
    return lambda: base.set_attn_implementation({"text_config": before})
