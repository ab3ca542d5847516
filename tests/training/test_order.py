from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.training

GROUPS = st.lists(st.sampled_from(["", "a", "b", "c", "d"]), min_size=1, max_size=30)


def shown(names: list[str]) -> list[tuple[str, ...]]:
    return [(name,) if name else () for name in names]


@settings(deadline=None)
@given(GROUPS, st.integers(0, 5), st.integers(1, 6))
def test_every_sample_comes_once_and_those_of_a_picture_follow_each_other(
    names: list[str], epoch: int, together: int
) -> None:
    from airtune.training.order import EpochOrder

    order = EpochOrder(shown(names), 3, together=together)
    order.set_epoch(epoch)
    taken = list(order)
    assert sorted(taken) == list(range(len(names)))
    assert taken == list(order)
    # As few runs as groups that are cut into parts of so many samples; parts of one picture may meet.
    runs = [(name, len(list(run))) for name, run in groupby(names[index] for index in taken) if name]
    for name in {name for name, _ in runs}:
        parts = -(-names.count(name) // together)
        assert sum(1 for other, _ in runs if other == name) <= parts


def test_the_order_is_of_the_seed_and_the_epoch_alone_and_random_between_groups_and_within() -> None:
    from airtune.training.order import EpochOrder

    pictures = [(f"{index // 4}",) for index in range(40)]

    def drawn(seed: int, epoch: int) -> list[int]:
        order = EpochOrder(pictures, seed, together=8)
        order.set_epoch(epoch)
        return list(order)

    assert drawn(1, 0) == drawn(1, 0)
    orders = [drawn(1, 0), drawn(1, 1), drawn(2, 0)]
    for one, other in zip(orders, orders[1:] + orders[:1], strict=True):
        assert [index // 4 for index in one] != [index // 4 for index in other]  # the groups
        within = [[[index for index in order if index // 4 == group] for group in range(10)] for order in (one, other)]
        assert within[0] != within[1]  # the questions of a group
    assert [index // 4 for index in orders[0]] == [group for group, _ in groupby(index // 4 for index in orders[0])
                                                   for _ in range(4)]  # fmt: skip


def test_a_picture_with_very_many_samples_does_not_fill_several_steps_in_a_row() -> None:
    from airtune.training.order import EpochOrder

    pictures = [("many",)] * 64 + [(f"{index}",) for index in range(64)]
    runs = [len(list(run)) for name, run in groupby(pictures[index][0] for index in EpochOrder(pictures, 1, together=8))
            if name == "many"]  # fmt: skip
    assert len(runs) >= 6
    assert set(runs) <= {8, 16, 24}
