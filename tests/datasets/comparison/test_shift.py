"""How far two distributions lie apart: known differences are found, chance is not taken for one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from airtune.datasets.comparison.shift import REST, adjusted, level_of, shift_of_categories, shift_of_numbers

GENERATOR = np.random.default_rng(5)


def levels(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[str]:
    found = [shift_of_numbers(one, two) for one, two in pairs]
    corrected = adjusted([shift.p_value for shift in found])
    return [level_of(shift.psi, p) for shift, p in zip(found, corrected, strict=True)]


def test_the_index_is_that_of_the_shares_between_known_bins() -> None:
    before, after = Counter(a=500, b=500), Counter(a=900, b=100)
    found = shift_of_categories(before, after)
    assert found is not None
    assert found.psi == pytest.approx(0.4 * np.log(0.9 / 0.5) - 0.4 * np.log(0.1 / 0.5), rel=0.01)
    assert found.statistic == pytest.approx(stats.chi2_contingency([[500, 500], [900, 100]], correction=False)[0])
    assert [(each.label, each.before, each.after) for each in found.bins] == [("a", 0.5, 0.9), ("b", 0.5, 0.1)]


def test_the_statistic_of_numbers_is_the_largest_distance_of_their_cumulative_shares() -> None:
    found = shift_of_numbers(np.arange(100), np.arange(100) + 30)
    assert found.statistic == pytest.approx(0.3)
    assert sum(each.before for each in found.bins) == pytest.approx(1)
    assert sum(each.after for each in found.bins) == pytest.approx(1)


@pytest.mark.parametrize("count", [15, 60, 400, 20_000])
def test_two_draws_of_one_distribution_have_not_shifted(count: int) -> None:
    pairs = [(GENERATOR.normal(size=count), GENERATOR.normal(size=count)) for _ in range(20)]
    assert set(levels(pairs)) == {"none"}


def test_a_large_dataset_with_a_difference_of_no_weight_has_not_shifted() -> None:
    one, two = GENERATOR.normal(size=200_000), GENERATOR.normal(loc=0.03, size=200_000)
    found = shift_of_numbers(one, two)
    assert found.p_value < 1e-6
    assert level_of(found.psi, found.p_value) == "none"


@pytest.mark.parametrize(("moved", "level"), [(0.5, "some"), (1.0, "much")])
def test_a_moved_distribution_has_shifted_by_as_much(moved: float, level: str) -> None:
    found = shift_of_numbers(GENERATOR.normal(size=3000), GENERATOR.normal(loc=moved, size=3000))
    assert level_of(found.psi, found.p_value) == level


def test_values_all_alike_that_become_others_have_shifted_and_alike_ones_have_not() -> None:
    same = shift_of_numbers(np.full(300, 640), np.full(200, 640))
    assert (same.statistic, same.p_value) == (0, 1)
    assert level_of(same.psi, same.p_value) == "none"
    for other in (639, 641, 1280):
        found = shift_of_numbers(np.full(300, 640), np.full(200, other))
        assert level_of(found.psi, found.p_value) == "much"


def test_what_is_new_beyond_the_old_range_counts() -> None:
    one = GENERATOR.uniform(0, 1, 2000)
    two = np.concatenate([GENERATOR.uniform(0, 1, 1400), np.full(600, 5.0)])
    assert shift_of_numbers(one, two).psi > 0.25


def test_rare_categories_are_one_and_texts_that_occur_once_are_none() -> None:
    common = {"yes": 300, "no": 200}
    found = shift_of_categories({**common, **{f"x{i}": 1 for i in range(50)}}, common)
    assert found is not None
    assert [each.label for each in found.bins] == ["yes", "no", REST]
    assert shift_of_categories({f"a{i}": 1 for i in range(99)}, {f"b{i}": 1 for i in range(99)}) is None
    assert shift_of_categories({}, common) is None


def test_a_category_that_is_new_is_a_shift() -> None:
    found = shift_of_categories({"cat": 500, "dog": 500}, {"cat": 300, "dog": 300, "fox": 400})
    assert found is not None
    assert level_of(found.psi, found.p_value) == "much"


def test_a_single_category_on_both_sides_is_no_shift() -> None:
    found = shift_of_categories({"yes": 40}, {"yes": 90})
    assert found is not None
    assert (found.psi, found.p_value) == (0, 1)


def test_the_correction_is_holms() -> None:
    assert adjusted([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjusted([0.9, 0.8]) == [1.0, 1.0]
    assert adjusted([]) == []
