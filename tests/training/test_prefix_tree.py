from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.training

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7), min_size=1, max_size=7)


def planted(sequences: list[list[int]]) -> tuple[set[tuple[int, ...]], Any]:
    """What a tree is by its definition, every beginning of a sequence a node; and the tree that was grown."""
    from airtune.training.prefix_tree import grow, in_order

    beginnings = {tuple(sequence[: end + 1]) for sequence in sequences for end in range(len(sequence))}
    branches = in_order([np.array(sequence, dtype=np.int64) for sequence in sequences])
    return beginnings, (branches, grow(branches))


@settings(max_examples=300, deadline=None)
@given(SEQUENCES)
def test_each_beginning_is_one_token_and_each_token_sees_its_own_beginnings(sequences: list[list[int]]) -> None:
    beginnings, (branches, tree) = planted(sequences)
    assert len(tree.end) == len(beginnings)
    places: dict[int, tuple[int, ...]] = {}
    for branch, path in zip(branches, tree.paths, strict=True):
        sequence = sequences[branch.index]
        assert len(path) == len(sequence)
        for depth, place in enumerate(path):
            beginning = tuple(sequence[: depth + 1])
            assert places.setdefault(int(place), beginning) == beginning
            assert tree.depth[place] == depth
    assert set(places.values()) == beginnings
    for query, beginning in places.items():
        seen = {place for place in places if place <= query < tree.end[place]}
        assert {places[place] for place in seen} == {beginning[: end + 1] for end in range(len(beginning))}


@settings(max_examples=100, deadline=None)
@given(SEQUENCES, st.data())
def test_a_part_of_the_order_is_the_tree_of_its_sequences(sequences: list[list[int]], data: st.DataObject) -> None:
    from airtune.training.prefix_tree import grow, in_order

    branches = in_order([np.array(sequence, dtype=np.int64) for sequence in sequences])
    first = data.draw(st.integers(0, len(branches) - 1))
    line = branches[first : data.draw(st.integers(first + 1, len(branches)))]
    beginnings, (_, alone) = planted([sequences[branch.index] for branch in line])
    part = grow(line)
    assert len(part.end) == len(beginnings)
    assert part.end.tolist() == alone.end.tolist()
    assert part.depth.tolist() == alone.depth.tolist()
