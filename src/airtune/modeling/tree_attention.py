"""Attention in a row that holds a tree: each token sees its ancestors and itself.

Samples that begin alike are one path until they part. In a tree written down branch by branch (depth first), a token
``k`` is an ancestor of ``q``, or ``q`` itself, exactly where ``k <= q < end[k]``, with ``end[k]`` the place after the
last descendant of ``k``. So one number a token says all, whatever form a mask takes in the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import torch

from airtune.modeling import block_attention, branch_attention

if TYPE_CHECKING:
    from airtune.catalog.entry import CatalogEntry

Sees = Callable[[Any, Any, Any, Any], torch.Tensor]
"""Whether a token sees another: of (batch, head, query, key), as FlexAttention asks."""

Form = Literal["boolean", "additive", "blocks", "branches"]

FULL: Final = "full_attention"
SLIDING: Final = "sliding_attention"

_TAKES_MASKS_BY_LAYER: Final = frozenset({"gemma4_text", "qwen2", "qwen3", "qwen2_5_vl_text"})
"""Language models that take one mask for layers that see everything and one for layers that see a window."""

_FORMS: Final[dict[str, Form]] = {
    "sdpa": "boolean", "eager": "additive",
    block_attention.IMPLEMENTATION: "blocks", branch_attention.IMPLEMENTATION: "branches",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tree:
    """The tokens of a row as a tree, depth first.

    Attributes:
        end: shape (t,): the place after the last descendant of each token.
        depth: shape (t,): how many ancestors each token has: its position in its sample.
        picture: shape (t,): a number that the tokens of one picture have in common, at one place of the tree; -1 for
            text.
    """

    end: torch.Tensor
    depth: torch.Tensor
    picture: torch.Tensor

    def mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Tree:
        """The same tree, each tensor changed (moved to a device ...)."""
        return Tree(change(self.end), change(self.depth), change(self.picture))


@dataclass(frozen=True, slots=True)
class TreeAttention:
    """How a model is told who sees whom in a tree.

    Attributes:
        form: ``boolean`` (SDPA), ``additive`` (eager), ``blocks`` (FlexAttention, see
            :mod:`airtune.modeling.block_attention`) or ``branches`` (SDPA, branch by branch, see
            :mod:`airtune.modeling.branch_attention`).
        window: how many tokens back the layers with a sliding window see, their own included; None: no such layers.
        pictures_both_ways: whether, in layers with a window, the tokens of a picture see those after them, too.
    """

    form: Form
    window: int | None = None
    pictures_both_ways: bool = False

    @property
    def sparse(self) -> bool:
        """Whether pairs that nobody sees cost nothing."""
        return self.form in ("blocks", "branches")

    def masks(self, tree: Tree) -> Any:
        """The ``attention_mask`` of a row of shape (1, t): a mask, or one for each type of layer."""
        sees = ancestors(tree)
        full = block_attention.ancestor_blocks(tree, sees) if self.form == "blocks" else self._mask(tree, sees)
        if self.window is None:
            return full
        return {FULL: full, SLIDING: self._mask(tree, near_ancestors(tree, self.window, self.pictures_both_ways))}

    def _mask(self, tree: Tree, sees: Sees) -> Any:
        length, device = len(tree.end), tree.end.device
        if self.form == "blocks":
            from torch.nn.attention.flex_attention import create_block_mask

            return create_block_mask(sees, B=None, H=None, Q_LEN=length, KV_LEN=length, device=device)
        place = torch.arange(length, device=device)
        mask = sees(0, 0, place[:, None], place[None, :])[None, None]
        if self.form == "boolean":
            return mask
        if self.form == "branches":
            return branch_attention.with_stretches(mask, tree)
        return torch.zeros(mask.shape, device=device).masked_fill_(~mask, torch.finfo(torch.float32).min)


def ancestors(tree: Tree) -> Sees:
    """A token sees its ancestors and itself."""
    end = tree.end

    def sees(batch: Any, head: Any, query: Any, key: Any) -> torch.Tensor:
        del batch, head
        visible: torch.Tensor = (key <= query) & (query < end[key])
        return visible

    return sees


def near_ancestors(tree: Tree, window: int, pictures_both_ways: bool) -> Sees:
    """As :func:`ancestors`, no further back than a window; the tokens of a picture may see each other both ways."""
    depth, picture, is_ancestor = tree.depth, tree.picture, ancestors(tree)

    def sees(batch: Any, head: Any, query: Any, key: Any) -> torch.Tensor:
        visible = is_ancestor(batch, head, query, key)
        if pictures_both_ways:
            visible = visible | ((picture[query] == picture[key]) & (picture[query] >= 0))
        near: torch.Tensor = depth[key] > depth[query] - window
        return visible & near

    return sees


def tree_attention(model: Any, entry: CatalogEntry) -> TreeAttention | None:
    """How trees are shown to this model; None where samples cannot share a row.

    They cannot where a layer carries a state from token to token (the catalog's ``packing`` is false), where the model
    is not the library's own, and where its attention takes no mask of ours.

    Args:
        model: the model, with adapters or without.
        entry: the catalog entry of its architecture.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    text = base.config.get_text_config()
    form = _FORMS.get(text._attn_implementation)
    if not entry.packing or form is None or not type(base).__module__.startswith("transformers.models."):
        return None
    types = set(getattr(text, "layer_types", None) or [FULL])
    window = getattr(text, "sliding_window", None) if SLIDING in types else None
    both_ways = getattr(text, "use_bidirectional_attention", None)
    if types - {FULL, SLIDING} or both_ways not in (None, False, "vision"):
        return None
    unspoken_window = getattr(text, "layer_types", None) is None and getattr(text, "sliding_window", None) is not None
    if unspoken_window or (SLIDING in types and text.model_type not in _TAKES_MASKS_BY_LAYER):
        return None
    return TreeAttention(form, window, both_ways == "vision")
