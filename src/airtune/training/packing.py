"""Shared-prefix packing: the samples of a micro-batch as prefix trees, each shared token computed once.

Samples share long prefixes: every one the system prompt, the questions of one picture also its tokens. A token of a
decoder depends on nothing but the tokens before it, so what is shared gives every sample the same, and its gradient
is the sum of what the samples ask of it: loss and gradients are those of the padded batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from airtune.modeling.branch_attention import go_by_branches
from airtune.modeling.encoding import IGNORED, NO_PICTURE, Encoded, Vision, token_level
from airtune.modeling.parts import count_by_part, plain_name
from airtune.modeling.positions import Positions
from airtune.modeling.tree_attention import Tree, TreeAttention, tree_attention
from airtune.training.prefix_tree import Branch, Numbers, PrefixTree, grow, in_order
from airtune.training.rows import Row

if TYPE_CHECKING:
    from airtune.catalog.entry import CatalogEntry

ROW_TOKENS: Final = 16_384
"""Tokens that a row may have where nothing else is known of the memory; a single sample always gets its row."""

ROW_COST: Final = 256
"""What a row costs before its first token, in tokens: a pass reads every weight and starts every kernel."""

_PICTURE_BITS: Final = 32
"""A token's identity is its id and, above these bits, whose picture it is a token of."""

_SEEN_BOTH_WAYS: Final = (1, 2)
"""Values of ``mm_token_type_ids`` for the tokens of pictures and of videos."""


@dataclass(frozen=True, slots=True)
class Packer:
    """Makes packed rows.

    Attributes:
        attention: how the model is told who sees whom.
        positions: the model's own rule of positions.
        row_tokens: how many tokens a row may have.
        pair_cost: what attention costs for each pair of tokens of a row, in tokens: a row of t tokens costs
            256 + t + pair_cost * t**2. Longer rows share more, and mask more pairs that are computed all the same.
    """

    attention: TreeAttention
    positions: Positions
    row_tokens: int = ROW_TOKENS
    pair_cost: float = 0.0

    @classmethod
    def of(cls, model: Any, entry: CatalogEntry, row_tokens: int = ROW_TOKENS) -> Packer | None:
        """The packer for a model; None where its samples cannot share a row. On the CPU it goes by branches then."""
        attention = tree_attention(model, entry)
        if attention is None:
            return None
        if attention.form == "boolean" and model.device.type == "cpu":
            go_by_branches(model)
            attention = replace(attention, form="branches")
        return cls(attention, Positions(model), row_tokens, _pair_cost(model, entry, attention))

    def by_blocks(self) -> Packer:
        """The same packer for a model that computes attention block by block: pairs that nobody sees cost nothing."""
        return replace(self, attention=replace(self.attention, form="blocks"), pair_cost=0.0)

    def rows(self, samples: Sequence[Encoded], digests: Sequence[tuple[str, ...]]) -> list[Row]:
        """The samples in as few and as cheap rows as the tokens of a row allow.

        Args:
            samples: with labels.
            digests: of each sample's pictures: what makes two of them the same.
        """
        numbers: dict[tuple[str, ...], int] = {}
        order = in_order([_identity(sample, named, numbers) for sample, named in zip(samples, digests, strict=True)])
        groups = [list(group) for _, group in groupby(order, key=lambda branch: digests[branch.index])]
        return [self._row(line, samples, digests) for line in self._lines(groups)]

    def _lines(self, groups: Sequence[list[Branch]]) -> list[list[Branch]]:
        """Which branches share a row: cut between groups where possible, and where it is cheaper than to go on."""
        lines: list[list[Branch]] = []
        for group in groups:
            alone = _size(group)
            parts = [group] if alone <= self.row_tokens else [[branch] for branch in group]
            for part in parts:
                if lines and self._joins(lines[-1], part):
                    lines[-1].extend(part)
                else:
                    lines.append(list(part))
        return lines

    def _joins(self, line: list[Branch], part: list[Branch]) -> bool:
        here, together, alone = _size(line), _size([*line, *part]), _size(part)
        return together <= self.row_tokens and self._cost(together) <= self._cost(here) + self._cost(alone)

    def _cost(self, tokens: int) -> float:
        return ROW_COST + tokens + self.pair_cost * tokens**2

    def _row(self, line: Sequence[Branch], samples: Sequence[Encoded], digests: Sequence[tuple[str, ...]]) -> Row:
        tree = grow(line)
        own = [(samples[branch.index], 0 if number == 0 else branch.shared) for number, branch in enumerate(line)]
        inputs = {
            name: torch.cat([value[start:] for value, (_, start) in zip(values, own, strict=True)]).unsqueeze(0)
            for name, values in token_level([sample.tokens for sample, _ in own]).items()
            if name != "attention_mask"
        }
        depth = torch.from_numpy(tree.depth)
        axes = [self.positions.of(sample) for sample, _ in own]
        counted = [found[:, start:] for found, (_, start) in zip(axes, own, strict=True) if found is not None]
        inputs["position_ids"] = torch.cat(counted, dim=1).unsqueeze(1) if counted else depth.unsqueeze(0)
        pictures, shown = _own_pictures(own, [digests[branch.index] for branch in line])
        sources, targets = _predictions(tree, [sample for sample, _ in own])
        blocks = torch.from_numpy(_picture_blocks(tree, [sample for sample, _ in own]))
        shape = Tree(torch.from_numpy(tree.end), depth, blocks)
        return Row(inputs, pictures, shown, sources, targets, shape, self.attention)


def _identity(sample: Encoded, digests: tuple[str, ...], numbers: dict[tuple[str, ...], int]) -> Numbers:
    """What makes each token the same as another's: its id and, in a picture, which one it is.

    Pictures without a word between them count as one: where pictures are seen both ways, a token of the first one
    depends on the second, too.
    """
    identity: Numbers = sample.tokens["input_ids"].numpy().astype(np.int64)
    owners = sample.picture.numpy()
    for begin, end in _runs(owners != NO_PICTURE):
        shown = tuple(digests[owner] for owner in np.unique(owners[begin:end]))
        identity[begin:end] += numbers.setdefault(shown, len(numbers) + 1) << _PICTURE_BITS
    return identity


def _own_pictures(
    own: Sequence[tuple[Encoded, int]], digests: Sequence[tuple[str, ...]]
) -> tuple[tuple[Vision, ...], tuple[str, ...]]:
    """The pictures of a row in the order of their tokens; one that is shared comes with its first branch."""
    pictures: list[Vision] = []
    shown: list[str] = []
    for (sample, start), known in zip(own, digests, strict=True):
        for number in torch.unique(sample.picture[start:]).tolist():
            if number != NO_PICTURE:
                pictures.append(sample.vision[number])
                shown.append(known[number])
    return tuple(pictures), tuple(shown)


def _predictions(tree: PrefixTree, samples: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
    """From where which token is predicted. Samples that part after a token predict several from its place."""
    sources, targets = [], []
    for path, sample in zip(tree.paths, samples, strict=True):
        if sample.labels is None:
            raise ValueError("a sample without labels cannot be trained")
        following = sample.labels[1:]
        learned = (following != IGNORED).nonzero().squeeze(1)
        sources.append(torch.from_numpy(path)[learned])
        targets.append(following[learned])
    return torch.cat(sources), torch.cat(targets)


def _picture_blocks(tree: PrefixTree, samples: Sequence[Encoded]) -> Numbers:
    """For each token of the tree the place where its picture begins; -1 for text."""
    blocks = np.full(len(tree.end), -1, dtype=np.int64)
    for path, sample in zip(tree.paths, samples, strict=True):
        types = sample.tokens.get("mm_token_type_ids")
        if types is not None:
            for begin, end in _runs(np.isin(types.numpy(), _SEEN_BOTH_WAYS)):
                blocks[path[begin:end]] = path[begin]
    return blocks


def _runs(inside: Any) -> list[tuple[int, int]]:
    """Where the values are true without a gap: (first, after the last)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return [(int(begin), int(end)) for begin, end in zip(edges[::2], edges[1::2], strict=True)]


def _size(line: Sequence[Branch]) -> int:
    return line[0].length + sum(branch.own for branch in line[1:])


def _pair_cost(model: Any, entry: CatalogEntry, attention: TreeAttention) -> float:
    """Multiplications of attention per pair of tokens over those of the layers per token.

    Per pair and layer the scores and the weighted sum take two for each number of a query; per token the layers take
    one for each of their numbers. Where what is masked is left out, a longer row costs the others nothing.
    """
    if attention.sparse:
        return 0.0
    queries = [
        module.q_proj.out_features
        for name, module in model.named_modules()
        if hasattr(module, "q_proj") and entry.part_of(f"{plain_name(name)}.q_proj") == "language"
    ]
    embeddings = model.get_input_embeddings().weight.numel()
    numbers = count_by_part(model, entry)["language"].parameters - embeddings
    return float(2 * sum(queries) / max(1, numbers))
