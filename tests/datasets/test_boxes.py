"""Boxes: what annotations hold, and what becomes of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airtune.datasets.boxes import boxes_of
from airtune.datasets.draft import REMEDIES, Reject
from airtune.runspec.answers import box_problem


def test_fractions_become_integers_from_0_to_1024() -> None:
    assert boxes_of([[0.0, 0.25, 0.5, 1.0]]) == [[0, 256, 512, 1024]]
    assert boxes_of([[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1]]) == [[102, 205, 512, 614], [0, 0, 1024, 1024]]


def test_one_box_alone_is_taken_as_a_list_of_one() -> None:
    assert boxes_of([0.0, 0.25, 0.5, 1.0]) == [[0, 256, 512, 1024]]


@pytest.mark.parametrize("turn", range(4))
def test_four_corners_are_taken_in_any_order(turn: int) -> None:
    corners = [[0.1, 0.2], [0.5, 0.2], [0.5, 0.6], [0.1, 0.6]]
    corners = corners[turn:] + corners[:turn]
    assert boxes_of(corners) == boxes_of([corners]) == boxes_of([[0.1, 0.2, 0.5, 0.6]])
    assert len(boxes_of([corners, corners])) == 2


def test_rounding_beyond_the_edge_is_clipped() -> None:
    assert boxes_of([[-0.0004, 0.0, 1.0003, 1.0000001]]) == [[0, 0, 1024, 1024]]


@pytest.mark.parametrize("low", [0.0, 0.3, 0.99999])
def test_a_box_thinner_than_a_unit_still_has_an_area(low: float) -> None:
    [[x1, y1, x2, y2]] = boxes_of([[low, low, low + 0.00001, low + 0.00001]])
    assert x2 - x1 == y2 - y1 == 1
    assert box_problem([x1, y1, x2, y2]) is None


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        ([[10, 20, 200, 300]], "box-in-pixels"),
        ([[0.1, 0.2, 0.5, 1.2]], "box-outside"),
        ([[-0.2, 0.2, 0.5, 0.9]], "box-outside"),
        ([[0.5, 0.2, 0.1, 0.6]], "box-inverted"),
        ([[0.1, 0.6, 0.5, 0.2]], "box-inverted"),
        ([[0.1, 0.2, 0.1, 0.6]], "box-empty"),
        ([], "box-empty"),
        ([[0.1, 0.2, 0.5]], "box-shape"),
        ([[0.1, 0.2, 0.5, "0.6"]], "box-shape"),
        ([[0.1, 0.2, 0.5, True]], "box-shape"),
        ([[0.1, 0.2, 0.5, math.nan]], "box-shape"),
        ([[0.1, 0.2, 0.5, 10**400]], "box-shape"),
        ({"x": 1}, "box-shape"),
        (None, "box-shape"),
        ([None], "box-shape"),
        ([[[0.1, 0.2], [0.3, 0.4]]], "box-shape"),
    ],
)
def test_a_box_that_cannot_be_meant_is_refused_with_its_reason(bounds: Any, reason: str) -> None:
    with pytest.raises(Reject) as caught:
        boxes_of(bounds, (640, 480))
    assert caught.value.reason == reason
    assert reason in REMEDIES


def test_pixels_are_said_together_with_the_image_that_they_would_fit() -> None:
    with pytest.raises(Reject, match=r"look like pixels of an image of 640 x 480: \[10, 20, 200, 300\]"):
        boxes_of([[10, 20, 200, 300]], (640, 480))


NUMBERS = st.floats() | st.integers() | st.floats(-0.1, 1.1)
ANYTHING = st.recursive(
    NUMBERS | st.none() | st.booleans() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=5)
)


@given(ANYTHING | st.lists(st.lists(NUMBERS, min_size=4, max_size=4), min_size=1, max_size=3))
def test_whatever_the_bounds_are_the_boxes_are_right_or_refused(bounds: Any) -> None:
    reason = None
    boxes = []
    try:
        boxes = boxes_of(bounds)
    except Reject as refusal:
        reason = refusal.reason
    assert reason in REMEDIES if reason is not None else boxes
    assert all(box_problem(box) is None for box in boxes)
