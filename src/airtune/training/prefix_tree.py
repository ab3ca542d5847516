"""The prefix tree of several sequences: what they begin with in common is there once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Branch:
    """One sequence, at its place in the tree's order.

    Attributes:
        index: which of the sequences it is.
        length: its number of tokens.
        shared: how many of them, from the first on, the sequence before it in the order has as well.
    """

    index: int
    length: int
    shared: int

    @property
    def own(self) -> int:
        """How many tokens it adds to the tree."""
        return self.length - self.shared

    def alone(self) -> Branch:
        """The same sequence as the first of a tree."""
        return replace(self, shared=0)


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """A tree of tokens, depth first: the own tokens of one branch after the other.

    Attributes:
        end: the place after the last descendant of each token.
        depth: the number of ancestors of each token.
        paths: the places of each branch's tokens, in the order of the branches.
    """

    end: Numbers
    depth: Numbers
    paths: tuple[Numbers, ...]


def in_order(sequences: Sequence[Numbers]) -> list[Branch]:
    """The sequences in lexicographic order, in which all that begin alike stand together.

    Args:
        sequences: numbers >= 0; two tokens are the same where their numbers are.
    """
    keys = [sequence.astype(">i8").tobytes() for sequence in sequences]  # bytes in the order of the numbers
    order = sorted(range(len(sequences)), key=lambda index: (keys[index], index))
    branches: list[Branch] = []
    before: Any = np.zeros(0, dtype=np.int64)
    for index in order:
        branches.append(Branch(index, len(sequences[index]), _in_common(before, sequences[index])))
        before = sequences[index]
    return branches


def grow(branches: Sequence[Branch]) -> PrefixTree:
    """The tree of branches that follow each other in :func:`in_order`; the first is taken whole."""
    line = [branches[0].alone(), *branches[1:]]
    starts = np.cumsum([0, *(branch.own for branch in line)])
    size = int(starts[-1])
    end = np.full(size, size, dtype=np.int64)
    depth = np.concatenate([np.arange(branch.shared, branch.length) for branch in line])
    paths: list[Numbers] = []
    for number, branch in enumerate(line):
        inherited = paths[-1][: branch.shared] if paths else np.zeros(0, dtype=np.int64)
        paths.append(np.concatenate([inherited, np.arange(starts[number], starts[number + 1])]))
        # Its token of depth d ends where the first later branch begins that shares no more than d tokens.
        open_to = branch.length
        for later in range(number + 1, len(line)):
            shared = max(line[later].shared, branch.shared)
            if shared < open_to:
                end[paths[-1][shared:open_to]] = starts[later]
                open_to = shared
            if open_to == branch.shared:
                break
    return PrefixTree(end, depth.astype(np.int64), tuple(paths))


def _in_common(one: Numbers, other: Numbers) -> int:
    length = min(len(one), len(other))
    different = np.flatnonzero(one[:length] != other[:length])
    return int(different[0]) if len(different) else length
