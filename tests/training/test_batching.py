from __future__ import annotations

from itertools import pairwise

import pytest

from airtune.training.batching import Batching


def ladder(batching: Batching, row: int, longest: int) -> list[Batching]:
    """What is tried when nothing fits; a packed row has as many tokens as it may have."""
    tried: list[Batching] = []
    current: Batching | None = batching
    while current is not None:
        tried.append(current)
        current = current.smaller(row=current.row_tokens or row, longest=longest)
    return tried


@pytest.mark.parametrize("batch_size", range(1, 33))
@pytest.mark.parametrize("accumulation", [1, 2, 3, 8])
def test_the_effective_batch_stays_whatever_its_divisors(batch_size: int, accumulation: int) -> None:
    tried = ladder(Batching(batch_size, accumulation), row=900, longest=300)
    assert {each.batch_size * each.accumulation for each in tried} == {batch_size * accumulation}
    assert all(2 * after.batch_size <= before.batch_size for before, after in pairwise(tried[:-1]))
    assert tried[-2].batch_size == 1  # before activations are computed again, one sample a pass was tried
    assert [each.checkpointing for each in tried] == [False] * (len(tried) - 1) + [True]


@pytest.mark.parametrize(
    ("batching", "sizes"),
    [
        (Batching(16, 1), [(16, 1), (8, 2), (4, 4), (2, 8), (1, 16)]),
        (Batching(6, 1), [(6, 1), (3, 2), (1, 6)]),
        (Batching(5, 2), [(5, 2), (2, 5), (1, 10)]),  # of ten samples two fit into five, and no other below
        (Batching(7, 1), [(7, 1), (1, 7)]),
    ],
)
def test_micro_batches_are_divisors_of_the_effective_batch(batching: Batching, sizes: list[tuple[int, int]]) -> None:
    assert [(each.batch_size, each.accumulation) for each in ladder(batching, 9, 9)[:-1]] == sizes


def test_packed_rows_become_shorter_down_to_the_longest_sample() -> None:
    tried = ladder(Batching(8, 2, row_tokens=4096), row=4096, longest=700)
    assert [each.row_tokens for each in tried] == [4096, 2048, 1024, 700, 700]
    assert {(each.batch_size, each.accumulation) for each in tried} == {(8, 2)}
    assert tried[-1].checkpointing


def test_a_run_that_computes_activations_again_as_asked_has_nothing_left() -> None:
    assert Batching(1, 8, checkpointing=True).smaller(row=10, longest=10) is None
