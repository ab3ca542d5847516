"""Which side a sample is on: by content, and never twice."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airtune.datasets.split import default_ratio, fewest_for_validation, groups_of, split_by_content


def names(count: int) -> list[str]:
    return [hashlib.sha256(str(index).encode()).hexdigest() for index in range(count)]


def validation(groups: list[str], ratio: float, fewest: int = 0) -> set[str]:
    sides = split_by_content(dict.fromkeys(groups, 1), ratio, fewest)
    return {group for group, side in sides.items() if side == "validation"}


def test_the_share_is_about_the_ratio() -> None:
    assert len(validation(names(5000), 0.2)) == pytest.approx(1000, rel=0.1)


def test_adding_images_moves_none_of_the_old_ones() -> None:
    few, many = names(400), names(900)
    assert validation(many, 0.2) & set(few) == validation(few, 0.2)


def test_the_order_of_the_groups_means_nothing() -> None:
    assert validation(names(300), 0.3) == validation(list(reversed(names(300))), 0.3)


def test_a_small_dataset_still_has_ten_images_to_judge_by() -> None:
    assert fewest_for_validation(60, None) == 10
    assert len(validation(names(60), default_ratio(60), fewest_for_validation(60, None))) >= 10
    assert fewest_for_validation(21, None) == 5  # a fifth where ten would be too many
    assert fewest_for_validation(60, 0.05) == 3  # unless the run asks for less


@pytest.mark.parametrize("ratio", [0.0001, 0.5, 0.9999])
@pytest.mark.parametrize("count", [2, 3, 50])
def test_both_sides_always_have_a_group(count: int, ratio: float) -> None:
    assert 0 < len(validation(names(count), ratio)) < count


def test_one_group_alone_is_to_learn_from() -> None:
    assert split_by_content({"a": 5}, 0.5, 3) == {"a": "train"}
    assert split_by_content({}, 0.5, 3) == {}


def test_images_that_a_sample_shows_together_belong_together() -> None:
    groups = groups_of([["b", "a"], ["c"], ["d", "b"], ["e", "f"]])
    assert groups == {"a": "a", "b": "a", "c": "c", "d": "a", "e": "e", "f": "e"}


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3), max_size=12), st.randoms())
def test_no_sample_is_ever_torn_whatever_the_order(samples: list[list[str]], random: object) -> None:
    groups = groups_of(samples)
    assert all(len({groups[digest] for digest in sample}) == 1 for sample in samples)
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert groups_of(shuffled) == groups
