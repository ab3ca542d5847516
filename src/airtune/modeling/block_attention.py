"""Attention in a tree by FlexAttention: blocks of pairs that nobody sees are neither computed nor kept. On a GPU.

A mask over a whole row takes memory with the square of its tokens, and torch's kernels for a mask compute every pair
of it. A block mask has one number a block of 128 x 128 pairs, and the kernel that torch makes of it skips the rest.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

import torch

from airtune.modeling.own_attention import Undo, go_by

if TYPE_CHECKING:
    from airtune.modeling.tree_attention import Sees, Tree

IMPLEMENTATION: Final = "airtune_blocks"
"""The name under which the library finds this attention."""

_BLOCK: Final = 128

COMPILED: Final[dict[str, Any]] = {"dynamic": True}
"""How FlexAttention is compiled: once for rows of any length, which differ from step to step."""


def go_by_blocks(model: Any) -> Undo:
    """Has the language model compute attention as here, where its masks are block masks; else as SDPA does."""
    return go_by(model, IMPLEMENTATION, block_attention)


def ancestor_blocks(tree: Tree, sees: Sees) -> Any:
    """The block mask in which each token sees its ancestors and itself, without ever making a mask of all pairs.

    A token ``k`` is seen from ``k`` to ``end[k]``. So of an earlier block some token is seen from a later one where its
    largest end lies behind the later one's begin, and every token from everywhere where its smallest end does not
    come before the later one's end.

    Args:
        tree: of t tokens.
        sees: what is asked of each pair in blocks that are seen in part.

    Returns:
        A :class:`torch.nn.attention.flex_attention.BlockMask` of shape (1, 1, t, t).
    """
    from torch.nn.attention.flex_attention import BlockMask

    length, device = len(tree.end), tree.end.device
    count = -(-length // _BLOCK)
    ends = tree.end.new_zeros(count * _BLOCK)
    ends[:length] = tree.end
    last, first = ends.view(count, _BLOCK).amax(1), ends.view(count, _BLOCK).amin(1)
    number = torch.arange(count, device=device)
    earlier = number[None, :] < number[:, None]  # (block of queries, block of keys)
    begins = number[:, None] * _BLOCK
    whole = earlier & (first[None, :] >= begins + _BLOCK)
    part = (earlier & (last[None, :] > begins) & ~whole) | (number[None, :] == number[:, None])
    return BlockMask.from_kv_blocks(
        *_ordered(part), *_ordered(whole), BLOCK_SIZE=_BLOCK, mask_mod=sees, seq_lengths=(length, length)
    )


def _ordered(blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How many blocks each row has, and which; shapes (1, 1, n) and (1, 1, n, n), the places after them unused."""
    counts = blocks.sum(dim=1, dtype=torch.int32)
    places = torch.argsort(blocks.to(torch.int8), dim=1, descending=True, stable=True).to(torch.int32)
    return counts[None, None], places[None, None]


def block_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """The library's SDPA attention, computed block by block where the mask is a block mask.

    Args:
        module: the attention layer.
        query: shape (batch, heads, t, width).
        key: shape (batch, key heads, t, width).
        value: as ``key``.
        attention_mask: a block mask, or any other.
        options: of the library.

    Returns:
        Shape (batch, t, heads, width), and no weights.

    Raises:
        ValueError: the layer asks for something that is not done here.
    """
    from torch.nn.attention.flex_attention import BlockMask
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if not isinstance(attention_mask, BlockMask):
        made: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return made
    asked = [name for name in ("softcap", "s_aux", "position_bias") if options.get(name) is not None]
    if asked or options.get("dropout"):
        raise ValueError(f"attention by blocks has no {', '.join(asked) or 'dropout'}")
    found = _kernel(query.device.type)(
        query, key, value, block_mask=attention_mask, scale=options.get("scaling"), enable_gqa=True
    )
    return found.transpose(1, 2).contiguous(), None


@cache
def _kernel(device: str) -> Any:
    """FlexAttention made into one kernel, for rows of any length; elsewhere than on a GPU as it is written down."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, **COMPILED) if device == "cuda" else flex_attention
