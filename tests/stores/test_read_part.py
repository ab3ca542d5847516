"""Reading the head of a large file without the rest."""

import pytest

from airtune.stores import Store
from airtune.stores.base import MissingError


def test_a_part_of_an_object_is_read_without_the_rest(store: Store) -> None:
    store.write("a/b", b"0123456789")
    assert store.read_part("a/b", 2, 3) == b"234"
    assert store.read_part("a/b", 8, 100) == b"89"
    assert store.read_part("a/b", 10, 5) == b""
    store.write("a/empty", b"")
    assert store.read_part("a/empty", 0, 5) == b""


def test_a_part_of_what_is_not_there_is_missing(store: Store) -> None:
    store.write("other", b"x")
    with pytest.raises(MissingError):
        store.read_part("a/b", 0, 3)
