"""How samples are dealt out: the same effective batches, whatever number of processes computes them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.training

SIZES = st.integers(1, 40)


def dealt(samples: int, effective: int, size: int, world: int) -> list[list[list[int]]]:
    """By process its micro-batches."""
    from airtune.training.order import EpochOrder, MicroBatches

    order = EpochOrder([()] * samples, 3, together=effective)
    made = [MicroBatches(order, effective=effective, size=size, rank=rank, world=world) for rank in range(world)]
    for each in made:
        assert len(each) == len(list(each))
        assert each.accumulation == math.ceil(math.ceil(min(effective, samples) / world) / size)
    return [list(each) for each in made]


def learned(micro_batches: list[list[int]]) -> list[int]:
    from airtune.training.samples import Unlearned

    return [index for batch in micro_batches for index in batch if not isinstance(index, Unlearned)]


@settings(deadline=None)
@given(samples=SIZES, effective=SIZES, size=st.integers(1, 8), world=st.integers(1, 5))
def test_each_effective_batch_holds_the_same_samples_on_any_number_of_processes(
    samples: int, effective: int, size: int, world: int
) -> None:
    from airtune.training.order import EpochOrder

    order = list(EpochOrder([()] * samples, 3, together=effective))
    processes = dealt(samples, effective, size, world)
    assert len({len(each) for each in processes}) == 1, "each has the same number of micro-batches"
    assert all(1 <= len(batch) <= size for each in processes for batch in each), "none is empty or too large"
    accumulation = math.ceil(math.ceil(min(effective, samples) / world) / size)
    steps = math.ceil(samples / effective)
    for step in range(steps):
        here = slice(step * accumulation, (step + 1) * accumulation)
        batch = [index for each in processes for index in learned(each[here])]
        assert batch == order[step * effective : (step + 1) * effective]
    assert all(len(each) <= steps * accumulation for each in processes)


def test_a_process_without_samples_computes_one_that_teaches_nothing() -> None:
    processes = dealt(samples=9, effective=8, size=4, world=2)
    assert [len(learned(each)) for each in processes] == [5, 4]
    last: Any = processes[1][-1][0]
    assert type(last).__name__ == "Unlearned"
    assert [int(last)] == learned([processes[0][-1]])
