from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airtune.answering.box_metrics import HIT, f1, intersection_over_union, score_groundings

LEFT, RIGHT = [0, 0, 100, 100], [500, 500, 600, 600]


def grounding(phrase: str, *boxes: list[int]) -> dict[str, object]:
    return {"phrase": phrase, "boxes": list(boxes)}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1.0),
        ([0, 0, 10, 10], [5, 0, 15, 10], 50 / 150),
        ([0, 0, 10, 10], [5, 5, 15, 15], 25 / 175),
        ([0, 0, 10, 10], [10, 0, 20, 10], 0.0),  # they only touch
        ([0, 0, 10, 10], [2, 2, 8, 8], 36 / 100),
        ([0, 0, 10, 10], [0, 0, 10, 5], 0.5),
        ([5, 5, 5, 5], [5, 5, 5, 5], 0.0),  # no area
        ([10, 10, 0, 0], [0, 0, 10, 10], 0.0),  # corners the wrong way round
    ],
)
def test_intersection_over_union_is_as_computed_by_hand(one: list[int], other: list[int], expected: float) -> None:
    assert intersection_over_union(one, other) == pytest.approx(expected, abs=1e-12)


def test_an_overlap_of_exactly_half_is_a_hit() -> None:
    score = score_groundings([grounding("a", [0, 0, 10, 10])], [grounding("a", [0, 0, 10, 5])])
    assert (score.hits, score.iou) == (1, pytest.approx(0.5))


def test_boxes_are_only_compared_within_their_phrase() -> None:
    truth = [grounding("a cat", LEFT), grounding("a dog", RIGHT)]
    swapped = [grounding("a cat", RIGHT), grounding("a dog", LEFT)]
    assert score_groundings(truth, truth).hits == 2
    assert score_groundings(truth, swapped).hits == 0
    assert score_groundings(truth, swapped).iou == 0.0


def test_phrases_may_differ_in_case_and_spaces() -> None:
    assert score_groundings([grounding("A  cat", LEFT)], [grounding("a cat", LEFT)]).hits == 1


def test_a_phrase_that_occurs_twice_has_the_boxes_of_both() -> None:
    score = score_groundings([grounding("a", LEFT), grounding("a", RIGHT)], [grounding("a", RIGHT, LEFT)])
    assert (score.true_boxes, score.predicted_boxes, score.hits, score.iou) == (2, 2, 2, 1.0)


def test_no_box_is_used_twice() -> None:
    score = score_groundings([grounding("a", LEFT, LEFT)], [grounding("a", LEFT)])
    assert (score.hits, score.iou) == (1, 0.5)


def test_superfluous_boxes_cost_precision() -> None:
    score = score_groundings([grounding("a", LEFT)], [grounding("a", LEFT), grounding("b", RIGHT)])
    assert (score.hits, score.true_boxes, score.predicted_boxes) == (1, 1, 2)
    assert f1(score.hits, score.true_boxes, score.predicted_boxes) == pytest.approx(2 / 3)


def test_the_assignment_is_the_best_one_and_not_the_greedy_one() -> None:
    # The first true box overlaps both predictions, the first one most; the second true box only that one.
    # Taking the best pair first would leave the second true box without any.
    truth = [grounding("a", [0, 0, 100, 100], [0, 0, 100, 55])]
    said = [grounding("a", [0, 0, 100, 80], [0, 0, 100, 180])]
    pairs = [[intersection_over_union(a, b) for b in said[0]["boxes"]] for a in truth[0]["boxes"]]  # type: ignore[attr-defined]
    assert pairs[0][0] > max(pairs[0][1], pairs[1][0]) >= HIT
    assert pairs[0][1] >= HIT > pairs[1][1]
    assert score_groundings(truth, said).hits == 2


def test_nothing_said_scores_nothing() -> None:
    score = score_groundings([grounding("a", LEFT)], [])
    assert (score.iou, f1(score.hits, score.true_boxes, score.predicted_boxes)) == (0.0, 0.0)


boxes = st.tuples(*[st.integers(0, 1024)] * 4).map(
    lambda c: [min(c[0], c[1]), min(c[2], c[3]), max(c[0], c[1]) + 1, max(c[2], c[3]) + 1]
)


@given(boxes, boxes)
def test_overlap_is_symmetric_and_between_0_and_1(one: list[int], other: list[int]) -> None:
    assert intersection_over_union(one, other) == intersection_over_union(other, one)
    assert 0.0 <= intersection_over_union(one, other) <= 1.0
    assert intersection_over_union(one, one) == 1.0


@given(st.lists(boxes, min_size=1, max_size=4), st.lists(boxes, max_size=4))
def test_the_assignment_is_as_good_as_the_best_of_all_of_them(truth: list[list[int]], said: list[list[int]]) -> None:
    score = score_groundings([grounding("a", *truth)], [grounding("a", *said)])
    padded: list[list[int] | None] = [*said, *([None] * len(truth))]
    sums, hits = [], []
    for order in itertools.permutations(padded, len(truth)):
        pairs = zip(truth, order, strict=True)
        ious = [0.0 if box is None else intersection_over_union(own, box) for own, box in pairs]
        sums.append(sum(ious))
        hits.append(sum(iou >= HIT for iou in ious))
    assert score.iou == pytest.approx(max(sums) / len(truth))
    assert score.hits == max(hits)
