"""Boxes: what annotations hold, and what becomes of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airtune.datasets.annotations.boxes import Units, finish, read_boxes
from airtune.datasets.draft import REMEDIES, Reject
from airtune.runspec.answers import box_problem

VGA = (640, 480)


def boxes_of(bounds: Any, size: tuple[int, int] = VGA, units: Units = "fraction") -> list[list[int]]:
    """From what an annotation holds to what is trained."""
    truth = {"sentence": "a", "groundings": [{"phrase": "a", "boxes": read_boxes(bounds)}]}
    boxes: list[list[int]] = finish(truth, units, size)["groundings"][0]["boxes"]
    return boxes


def test_fractions_become_integers_from_0_to_1024() -> None:
    assert boxes_of([[0.0, 0.25, 0.5, 1.0]]) == [[0, 256, 512, 1024]]
    assert boxes_of([[0, 0, 1, 1], [0.1, 0.2, 0.5, 0.6]]) == [[0, 0, 1024, 1024], [102, 205, 512, 614]]


def test_pixels_become_integers_from_0_to_1024() -> None:
    assert boxes_of([[0, 120, 320, 480.0]], units="pixel") == [[0, 256, 512, 1024]]


def test_boxes_on_the_grid_stay_as_they_are() -> None:
    truth = {"sentence": "a", "groundings": [{"phrase": "a", "boxes": [[9, 9, 20, 20], [1, 2, 3, 4]]}]}
    assert finish(truth, "grid", VGA) == truth


def test_the_boxes_of_a_phrase_are_put_in_reading_order() -> None:
    drawn = [[300, 200, 400, 300], [9, 200, 40, 300], [500, 10, 600, 300]]
    assert boxes_of(drawn, units="pixel") == boxes_of(sorted(drawn), units="pixel")
    assert [box[0] for box in boxes_of(drawn, units="pixel")] == [800, 14, 480]


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
    assert boxes_of([[-0.4, 0, 640.5, 480.02]], units="pixel") == [[0, 0, 1024, 1024]]


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
        ([[1.0, 0.2, 1.0005, 0.9]], "box-outside"),
        ([[0.5, 0.2, 0.1, 0.6]], "box-inverted"),
        ([[0.1, 0.6, 0.5, 0.2]], "box-inverted"),
        ([[0.1, 0.2, 0.1, 0.6]], "box-empty"),
        ([], "box-empty"),
        ([[0.1, 0.2, 0.5]], "box-shape"),
        ([[0.1, 0.2, 0.5, "0.6"]], "box-shape"),
        ([[0.1, 0.2, 0.5, True]], "box-shape"),
        ([[0.1, 0.2, 0.5, math.nan]], "box-shape"),
        ([[[0.1, math.nan], [0.3, 0.4], [1, 1], [0, 0]]], "box-shape"),
        ([[0.1, 0.2, 0.5, 10**400]], "box-shape"),
        ({"x": 1}, "box-shape"),
        (None, "box-shape"),
        ([None], "box-shape"),
        ([[[0.1, 0.2], [0.3, 0.4]]], "box-shape"),
    ],
)
def test_a_box_that_cannot_be_meant_is_refused_with_its_reason(bounds: Any, reason: str) -> None:
    with pytest.raises(Reject) as caught:
        boxes_of(bounds)
    assert caught.value.reason == reason
    assert reason in REMEDIES


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([0.1, 0.2, 0.5, 0.6], "box-in-fractions"),
        ([-30, 20, 200, 300], "box-outside"),
        ([10, 20, 641, 300], "box-outside"),
        ([10, 20, 200, 5000], "box-outside"),
        ([200, 20, 10, 300], "box-inverted"),
        ([10, 20, 10, 300], "box-empty"),
    ],
)
def test_a_box_in_pixels_is_held_against_its_image(box: list[float], reason: str) -> None:
    with pytest.raises(Reject) as caught:
        boxes_of([box], units="pixel")
    assert caught.value.reason == reason


def test_pixels_are_said_together_with_the_image_that_they_would_fit() -> None:
    with pytest.raises(Reject, match=r"look like pixels of an image of 640 x 480: \[10, 20, 200, 300\]"):
        boxes_of([[10, 20, 200, 300]])


@given(st.data())
def test_the_same_box_in_pixels_and_in_rounded_fractions_is_the_same_target(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(8, 8000)), data.draw(st.integers(8, 8000))
    xs = sorted(data.draw(st.lists(st.integers(0, width), min_size=2, max_size=2, unique=True)))
    ys = sorted(data.draw(st.lists(st.integers(0, height), min_size=2, max_size=2, unique=True)))
    pixels = boxes_of([[xs[0], ys[0], xs[1], ys[1]]], (width, height), "pixel")
    assert boxes_of([[xs[0] / width, ys[0] / height, xs[1] / width, ys[1] / height]], (width, height)) == pixels
    # As YOLO writes it: centre and size with six decimals.
    middle = [round(sum(edges) / 2 / side, 6) for edges, side in ((xs, width), (ys, height))]
    extent = [round((edges[1] - edges[0]) / side, 6) for edges, side in ((xs, width), (ys, height))]
    yolo = [middle[0] - extent[0] / 2, middle[1] - extent[1] / 2, middle[0] + extent[0] / 2, middle[1] + extent[1] / 2]
    assert boxes_of([yolo], (width, height)) == pixels


NUMBERS = st.floats() | st.integers() | st.floats(-0.1, 1.1)
ANYTHING = st.recursive(
    NUMBERS | st.none() | st.booleans() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=5)
)


@given(
    ANYTHING | st.lists(st.lists(NUMBERS, min_size=4, max_size=4), min_size=1, max_size=3),
    st.sampled_from(["fraction", "pixel"]),
)
def test_whatever_the_bounds_are_the_boxes_are_right_or_refused(bounds: Any, units: Units) -> None:
    reason = None
    boxes = []
    try:
        boxes = boxes_of(bounds, units=units)
    except Reject as refusal:
        reason = refusal.reason
    assert reason in REMEDIES if reason is not None else boxes
    assert all(box_problem(box) is None for box in boxes)
