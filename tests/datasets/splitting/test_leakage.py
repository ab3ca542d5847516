"""What is on both sides of a delivered split: counted once, with names."""

from __future__ import annotations

import json

from airtune.datasets.splitting.leakage import MOST_NAMED, leaks_between

Shown = tuple[str, list[str], list[str]]


def shown(split: str, *pairs: tuple[str, str]) -> Shown:
    return split, [name for name, _ in pairs], [digest for _, digest in pairs]


def test_one_picture_on_both_sides_is_named_with_all_its_names() -> None:
    rows = [
        shown("train", ("a.jpg", "1")),
        shown("train", ("copy.jpg", "1"), ("b.jpg", "2")),
        shown("validation", ("val/a.jpg", "1")),
        shown("validation", ("val/a.jpg", "1")),
        shown("validation", ("c.jpg", "3")),
    ]
    leaks = leaks_between(rows, [])
    assert [(leak.train, leak.validation) for leak in leaks.exact] == [(("a.jpg", "copy.jpg"), ("val/a.jpg",))]
    assert leaks.near == ()
    (warning,) = leaks.warnings
    assert warning.startswith("1 image is in training and in validation, so scores are too good: ")
    assert warning.endswith("a.jpg, copy.jpg (train) = val/a.jpg (validation)")


def test_nearly_the_same_pictures_on_both_sides_are_leaks_and_on_one_side_are_none() -> None:
    rows = [
        shown("train", ("a.jpg", "1"), ("b.jpg", "2"), ("e.jpg", "5")),
        shown("validation", ("c.jpg", "3"), ("d.jpg", "4")),
    ]
    leaks = leaks_between(rows, [("1", "2"), ("3", "5", "not used"), ("4", "7")])
    assert [(leak.kind, leak.train, leak.validation) for leak in leaks.near] == [("near", ("e.jpg",), ("c.jpg",))]
    assert "nearly the same" in leaks.warnings[0]


def test_an_exact_copy_is_not_told_again_as_a_near_one() -> None:
    rows = [shown("train", ("a.jpg", "1"), ("b.jpg", "2")), shown("validation", ("x.jpg", "1"))]
    leaks = leaks_between(rows, [("1", "2")])
    assert (len(leaks.exact), len(leaks.near)) == (1, 0)
    rows.append(shown("validation", ("y.jpg", "3")))
    assert [leak.validation for leak in leaks_between(rows, [("1", "2", "3")]).near] == [("y.jpg",)]


def test_a_clean_split_says_nothing_and_thousands_of_leaks_stay_short() -> None:
    assert leaks_between([shown("train", ("a", "1")), shown("validation", ("b", "2"))], []).warnings == []
    rows = [shown(split, *((f"{split}{i}", str(i)) for i in range(3000))) for split in ("train", "validation")]
    document = leaks_between(rows, [[str(i) for i in range(3000)]]).to_json()
    assert (document["exact"], len(document["first"])) == (3000, MOST_NAMED)
    assert len(json.dumps(document)) < 50_000
