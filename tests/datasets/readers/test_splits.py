"""Which side of the split a file is for."""

from __future__ import annotations

import pytest

from airtune.datasets.readers.splits import delivered, named_split


@pytest.mark.parametrize(
    ("key", "split"),
    [
        ("train.jsonl", "train"),
        ("data/train-00000-of-00002.parquet", "train"),
        ("birds_val.json", "validation"),
        ("val/data.jsonl", "validation"),
        ("validation/train.jsonl", "train"),
        ("x/Test/a/b.arrow", "test"),
        ("values.jsonl", None),
        ("trains.jsonl", None),
        ("train_test.jsonl", None),
        ("latest/data.jsonl", None),
        ("eval.set.json", "validation"),
    ],
)
def test_a_word_in_the_name_or_in_the_nearest_folder_says_the_split(key: str, split: str | None) -> None:
    assert named_split(key) == split


def test_a_test_split_is_for_validation_where_there_is_no_other() -> None:
    assert delivered(["train.json", "test.json"]) == ({"train.json": "train", "test.json": "validation"}, [])
    assert delivered(["val.json", "test.json", "x.json"]) == ({"val.json": "validation", "x.json": None}, ["test.json"])
