"""Copies of images: whole or not there, and never more than there is room for."""

from __future__ import annotations

import hashlib
import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from airtune.datasets.pictures.image_cache import ImageCache
from airtune.environment import Environment
from airtune.errors import SettingsError


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def kept(cache: ImageCache, contents: list[bytes]) -> list[bool]:
    return [cache.read(digest_of(content)) == content for content in contents]


def aged(cache: ImageCache, content: bytes, seconds: float) -> None:
    path = cache.path(digest_of(content))
    then = time.time() - seconds
    os.utime(path, (then, path.stat().st_mtime))


def test_a_copy_is_found_by_its_digest_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, 10_000)
    path = cache.keep(digest_of(b"one"), b"one")
    assert path.read_bytes() == cache.read(digest_of(b"one")) == b"one"
    assert cache.has(digest_of(b"one"))
    path.write_bytes(b"two")
    assert cache.read(digest_of(b"one")) is None
    assert not cache.has(digest_of(b"one"))
    assert cache.read(digest_of(b"never")) is None


def test_beyond_the_limit_those_used_longest_ago_go_first(tmp_path: Path) -> None:
    contents = [bytes([index]) * 1000 for index in range(12)]
    cache = ImageCache(tmp_path, 100_000)
    for content in contents:
        cache.keep(digest_of(content), content)
    for index, content in enumerate(contents):
        aged(cache, content, 1000 - index)
    assert cache.read(digest_of(contents[0])) == contents[0]  # now the one used last
    small = ImageCache(tmp_path, 5_000)
    assert small.sweep() <= 4_500
    assert kept(small, contents) == [True] + [False] * 8 + [True] * 3


def test_what_was_used_within_the_last_minute_stays(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, 0)
    first, second = b"a" * 1000, b"b" * 1000
    cache.keep(digest_of(first), first)
    aged(cache, first, 300)
    cache.keep(digest_of(second), second)
    assert kept(cache, [first, second]) == [False, True]


def test_a_failed_write_leaves_nothing_and_a_killed_ones_rest_goes_after_a_day(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, 10_000)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        cache.fill(fail)
    assert list(tmp_path.iterdir()) == []
    left = tmp_path / "1-2.part"
    left.write_bytes(b"half")
    cache.sweep()
    assert left.exists()
    os.utime(left, (0, 0))
    cache.sweep()
    assert not left.exists()


def test_a_cache_goes_to_another_process_without_its_lock(tmp_path: Path) -> None:
    cache = pickle.loads(pickle.dumps(ImageCache(tmp_path, 7)))
    assert (cache.folder, cache.limit) == (tmp_path, 7)
    cache.keep(digest_of(b"x"), b"x")


def test_the_room_is_set_in_gigabytes() -> None:
    assert Environment.read({}).image_cache_gb == 50
    assert Environment.read({"AIRTUNE_IMAGE_CACHE_GB": "0"}).image_cache_gb == 0
    with pytest.raises(SettingsError, match="AIRTUNE_IMAGE_CACHE_GB"):
        Environment.read({"AIRTUNE_IMAGE_CACHE_GB": "much"})


def test_copies_that_others_finish_while_one_sweeps_stop_nobody(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, 1)  # every copy is followed by a sweep

    def keep(number: int) -> None:
        for index in range(150):
            content = f"{number} {index}".encode()
            cache.keep(digest_of(content), content)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(keep, number) for number in range(4)]:
            done.result()
