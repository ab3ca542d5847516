"""Listing the folders of a store without what lies in them."""

from airtune.stores import Store


def test_the_folders_of_a_prefix_are_named_without_what_lies_deeper(store: Store) -> None:
    for key in ("runs/b/run.json", "runs/a/run.json", "runs/a/checkpoints/step-1/x", "runs/plain-file", "models/m/x"):
        store.write(key, b"x")
    assert store.folders("runs") == ["a", "b"]
    assert store.folders("runs/a") == ["checkpoints"]
    assert store.folders() == ["models", "runs"]


def test_a_prefix_that_does_not_exist_has_no_folders(store: Store) -> None:
    assert store.folders("runs") == []


def test_folders_of_a_store_below_another_are_named_without_its_prefix(store: Store) -> None:
    store.write("deep/runs/one/run.json", b"x")
    assert store.sub("deep").folders("runs") == ["one"]
