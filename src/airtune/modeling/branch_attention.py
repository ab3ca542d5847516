"""Attention in a tree, branch by branch: what is masked for all of a branch is not computed.

A mask over a whole row makes every pair of its tokens cost something, seen or not: with eight samples of which each
adds a third of its own, two pairs of three are for nothing. Here each stretch of tokens that follow each other is
computed against its ancestors and itself alone. On the CPU, where FlexAttention has no backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from airtune.modeling.own_attention import Undo, go_by

if TYPE_CHECKING:
    from airtune.modeling.tree_attention import Tree

IMPLEMENTATION: Final = "airtune_branches"
"""The name under which the library finds this attention."""

_STRETCHES: Final = "airtune_stretches"
"""The attribute of a mask that carries its stretches: a mask goes through every architecture untouched."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens that follow each other without another branch between them.

    Attributes:
        begin: the first one's place.
        end: the place after the last one.
        seen: the places of their ancestors and of themselves.
        mask: shape (1, 1, end - begin, len(seen)): who sees whom; None where each sees all before it and itself, and
            no ancestor is left.
    """

    begin: int
    end: int
    seen: torch.Tensor
    mask: torch.Tensor | None


def go_by_branches(model: Any) -> Undo:
    """Has the language model of a model compute attention as here, where its masks carry a tree; else as before."""
    return go_by(model, IMPLEMENTATION, branch_attention)


def with_stretches(mask: torch.Tensor, tree: Tree) -> torch.Tensor:
    """The same mask, shape (1, 1, t, t), carrying the stretches of its tree."""
    length = len(tree.end)
    place = torch.arange(length, device=mask.device)
    leaves = (tree.end == place + 1).nonzero().squeeze(1).tolist()  # a token without descendants ends a stretch
    found = []
    for begin, end in zip([0, *(leaf + 1 for leaf in leaves[:-1])], [leaf + 1 for leaf in leaves], strict=True):
        above = (tree.end[:begin] > begin).nonzero().squeeze(1)
        seen = torch.cat([above, place[begin:end]])
        own = mask[:, :, begin:end].index_select(3, seen)
        plain = begin == 0 and torch.equal(own, torch.ones_like(own).tril())
        found.append(Stretch(begin, end, seen, None if plain else own))
    setattr(mask, _STRETCHES, tuple(found))
    return mask


def branch_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """The library's SDPA attention, once for each stretch of a tree.

    Args:
        module: the attention layer.
        query: shape (batch, heads, t, width).
        key: shape (batch, key heads, t, width).
        value: as ``key``.
        attention_mask: of :func:`with_stretches`, or any other.
        options: of the library.

    Returns:
        Shape (batch, t, heads, width), and no weights.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    stretches: tuple[Stretch, ...] | None = getattr(attention_mask, _STRETCHES, None)
    if stretches is None:
        made: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return made
    parts = []
    for stretch in stretches:
        asked = query[:, :, stretch.begin : stretch.end]
        keys, values = key.index_select(2, stretch.seen), value.index_select(2, stretch.seen)
        parts.append(sdpa_attention_forward(module, asked, keys, values, stretch.mask, **options)[0])
    return torch.cat(parts, dim=1), None
