"""What every store promises, on a folder and on S3."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from airtune.errors import SettingsError
from airtune.stores import MissingError, Progress, Store
from airtune.stores.conditional import check_conditional_writes
from airtune.stores.run_directory import update


def test_what_is_written_is_read_back(store: Store) -> None:
    store.write("a/b.bin", b"\x00\xff")
    assert store.read("a/b.bin") == b"\x00\xff"
    store.write("a/b.bin", b"")
    assert store.read("a/b.bin") == b""


def test_a_missing_key_is_named_with_its_place(store: Store) -> None:
    assert store.stat("no/such") is None
    assert store.read_versioned("no/such") is None
    with pytest.raises(MissingError, match="no/such"):
        store.read("no/such")
    with pytest.raises(MissingError, match="no/such"):
        store.download_file("no/such", Path("unused"))
    store.delete("no/such")


def test_the_version_changes_with_every_content_and_not_otherwise(store: Store) -> None:
    store.write("x", b"one")
    first = store.stat("x")
    assert first is not None
    assert first.size == 3
    assert store.stat("x") == first
    versions = {first.version}
    for number in range(20):  # faster than a clock's tick, all of one size
        store.write("x", b"%03d" % number)
        found = store.stat("x")
        assert found is not None
        versions.add(found.version)
    assert len(versions) == 21


def test_listing_is_sorted_and_takes_whole_path_parts(store: Store) -> None:
    for key in ("step-1/b", "step-1/a", "step-10/a", "step-1.txt", "z"):
        store.write(key, b"1")
    assert [info.key for info in store.list("step-1")] == ["step-1/a", "step-1/b"]
    assert [info.key for info in store.list()] == ["step-1.txt", "step-1/a", "step-1/b", "step-10/a", "z"]
    assert [info.key for info in store.list("z")] == ["z"]
    assert list(store.list("nothing/here")) == []
    assert [info.key for info in store.sub("step-1").list()] == ["a", "b"]
    assert store.sub("step-1").uri == f"{store.uri}/step-1"


def test_more_than_one_page_is_listed(store: Store) -> None:
    def write(start: int) -> None:
        for number in range(start, 1020, 4):
            store.write(f"many/{number:04d}", b"")

    threads = [threading.Thread(target=write, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [info.key for info in store.list("many")] == [f"many/{number:04d}" for number in range(1020)]


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\\b", "a\x00b", "a\nb", "\ud800", "k" * 1025]
)
def test_a_key_that_leaves_the_store_or_cannot_be_named_is_refused(store: Store, key: str) -> None:
    for act in (store.read, store.stat, store.delete, store.sub, lambda key: store.write(key, b"")):
        with pytest.raises(SettingsError):
            act(key)


def test_names_of_every_language_are_kept(store: Store) -> None:
    key = "Prüfstück 7/日本 +%41&=?#.json"
    store.write(key, b"1")
    assert [info.key for info in store.list()] == [key]
    assert store.read(key) == b"1"


def _race(count: int, act: Callable[[int], bool]) -> list[int]:
    """The numbers of those for whom ``act`` returned True, all starting at once."""
    barrier, winners, errors = threading.Barrier(count), [], []

    def run(number: int) -> None:
        barrier.wait()
        try:
            if act(number):
                winners.append(number)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    return winners


def test_of_eight_that_create_one_succeeds_and_its_content_stays(store: Store) -> None:
    for turn in range(3):
        key = f"race/{turn}"
        winners = _race(8, lambda number, key=key: store.create(key, b"%d" % number))
        assert len(winners) == 1
        assert store.read(key) == b"%d" % winners[0]


def test_of_ten_that_replace_the_same_version_one_succeeds(store: Store) -> None:
    assert store.replace("current", b"start", None)
    assert not store.replace("current", b"again", None)
    for turn in range(4):
        found = store.read_versioned("current")
        assert found is not None

        def replace(number: int, version: str = found[1], turn: int = turn) -> bool:
            return store.replace("current", b"%d %d" % (turn, number), version)

        winners = _race(10, replace)
        assert len(winners) == 1
        assert store.read("current") == b"%d %d" % (turn, winners[0])


def test_replacing_what_is_not_there_fails(store: Store) -> None:
    assert not store.replace("absent", b"1", "0123456789abcdef0123456789abcdef")
    assert store.stat("absent") is None


def test_updates_of_many_writers_are_all_kept(store: Store) -> None:
    def add(number: int) -> bool:
        update(store, "log", lambda data: (data or b"") + b"%d\n" % number)
        return True

    assert len(_race(6, add)) == 6
    assert sorted(store.read("log").split()) == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_a_store_that_keeps_conditions_passes_the_check_and_nothing_stays(store: Store) -> None:
    check_conditional_writes(store)
    assert list(store.list()) == []


def test_a_tree_goes_up_and_comes_down_with_its_sizes_and_digests(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "tree"
    contents = {"a.txt": b"a", "deep/er/b.bin": os.urandom(300_000), "empty": b""}
    for path, data in contents.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(data)
    seen: list[Progress] = []
    records = store.upload_tree(source, "t", progress=seen.append)
    assert {record.path: (record.size, record.sha256) for record in records} == {
        path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in contents.items()
    }
    assert (seen[-1].files, seen[-1].bytes) == (3, 300_001)
    assert store.download_tree("t", tmp_path / "back") == records
    assert {path: (tmp_path / "back" / path).read_bytes() for path in contents} == contents
    only = store.download_tree("t", tmp_path / "some", only=["a.txt"])
    assert [record.path for record in only] == ["a.txt"]
    assert os.listdir(tmp_path / "some") == ["a.txt"]  # noqa: PTH208
    with pytest.raises(MissingError, match="nowhere"):
        store.download_tree("t", tmp_path / "some", only=["a.txt", "nowhere"])
    assert store.delete_tree("t") == 3
    assert list(store.list()) == []


def test_the_marker_is_uploaded_after_everything_else(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "tree"
    source.mkdir()
    (source / "COMPLETE").write_bytes(b"")
    for number in range(12):
        (source / f"part-{number}").write_bytes(b"x" * 10_000)
    order: list[str] = []
    upload = store.upload_file

    def note(path: Path, key: str, on_bytes: Callable[[int], None] | None = None) -> object:
        info = upload(path, key, on_bytes)
        order.append(key)
        return info

    store.upload_file = note  # type: ignore[method-assign,assignment]
    store.upload_tree(source, "t")
    assert len(order) == 13
    assert order[-1] == "t/COMPLETE"


def test_a_large_file_travels_in_parts_and_arrives_whole(store: Store, tmp_path: Path) -> None:
    data = os.urandom(1024 * 1024) * 40
    (tmp_path / "large").write_bytes(data)
    moved: list[int] = []
    info = store.upload_file(tmp_path / "large", "large", moved.append)
    assert info.size == len(data)
    assert sum(moved) == len(data)
    moved.clear()
    assert store.download_file("large", tmp_path / "back", moved.append) == info
    assert sum(moved) == len(data)
    assert hashlib.sha256((tmp_path / "back").read_bytes()).digest() == hashlib.sha256(data).digest()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["back", "large"]


def test_a_document_stays_json_however_often_it_is_replaced_while_it_is_read(store: Store) -> None:
    store.write("doc", json.dumps({"n": 0, "pad": "x" * 5000}).encode())
    stop = threading.Event()
    bad: list[bytes] = []

    def look() -> None:
        while not stop.is_set():
            data = store.read("doc")
            try:
                json.loads(data)
            except ValueError:
                bad.append(data)

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(40):
        store.write("doc", json.dumps({"n": number, "pad": "y" * (number * 97)}).encode())
    stop.set()
    reader.join()
    assert not bad
