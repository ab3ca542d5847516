"""Every object is listed once, with few requests, several at a time."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from airtune.stores import s3_listing
from airtune.stores.s3_listing import list_objects


class Bucket:
    """Answers as ``ListObjectsV2`` does, with pages of ten."""

    page = 10

    def __init__(self, keys: list[str], seconds: float = 0.0) -> None:
        self.keys = sorted(keys)
        self.requests = 0
        self._seconds = seconds
        self._lock = threading.Lock()

    def __call__(self, prefix: str, more: dict[str, str]) -> dict[str, Any]:
        with self._lock:
            self.requests += 1
        time.sleep(self._seconds)
        names: list[tuple[str, bool]] = []
        for key in self.keys:
            if key.startswith(prefix):
                folder, slash, _ = key[len(prefix) :].partition("/")
                name = (prefix + folder + "/", True) if slash and "Delimiter" in more else (key, False)
                if not names or names[-1] != name:
                    names.append(name)
        start = int(more.get("ContinuationToken", 0))
        shown = names[start : start + self.page]
        answer: dict[str, Any] = {
            "Contents": [{"Key": name} for name, is_folder in shown if not is_folder],
            "CommonPrefixes": [{"Prefix": name} for name, is_folder in shown if is_folder],
            "IsTruncated": start + self.page < len(names),
        }
        if answer["IsTruncated"]:
            answer["NextContinuationToken"] = str(start + self.page)
        return answer


FLAT = [f"a/{index:03}.png" for index in range(95)]
VI = [
    f"{split}/{kind}/{index:03}"
    for split in ("training", "validation")
    for kind in ("images", "annotations")
    for index in range(40)
]
MANY_FOLDERS = [f"folder {index:03}/{name}" for index in range(60) for name in ("a", "b")]
MIXED = ["x", "y/1", *[f"y/z/{index}" for index in range(30)], *[f"{index}" for index in range(25)]]


@pytest.mark.parametrize("keys", [[], ["one"], FLAT, VI, MANY_FOLDERS, MIXED])
@pytest.mark.parametrize("most", [3, 500])
def test_every_object_is_listed_once(keys: list[str], most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_listing, "_MOST_FOLDERS", most)
    bucket = Bucket([*keys, "elsewhere/z"])
    for prefix in ("", "a/", "y/"):
        found = sorted(entry["Key"] for entry in list_objects(bucket, prefix))
        assert found == sorted(key for key in bucket.keys if key.startswith(prefix))


def test_a_small_folder_takes_one_request() -> None:
    bucket = Bucket(VI[:8])
    list_objects(bucket, "")
    assert bucket.requests == 1


def test_folders_are_listed_at_the_same_time() -> None:
    bucket = Bucket([f"{folder}/{index:03}" for folder in range(8) for index in range(100)], seconds=0.02)
    begun = time.monotonic()
    assert len(list_objects(bucket, "")) == 800
    assert bucket.requests >= 80
    assert time.monotonic() - begun < 0.02 * bucket.requests / 2


def test_many_small_folders_are_not_asked_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_listing, "_MOST_FOLDERS", 15)
    bucket = Bucket(MANY_FOLDERS)
    assert len(list_objects(bucket, "")) == 120
    assert bucket.requests <= 12 + 3


def test_an_error_ends_it() -> None:
    bucket = Bucket(VI)

    def ask(prefix: str, more: dict[str, str]) -> dict[str, Any]:
        if prefix == "training/images/":
            raise ConnectionError("gone")
        return bucket(prefix, more)

    with pytest.raises(ConnectionError, match="gone"):
        list_objects(ask, "")
