"""The room that features may take, and who makes way."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.training

KB = 1024


def kept(folder: Path, name: str, size: int, age: float) -> Path:
    """A file of features that was used last ``age`` seconds ago."""
    import time

    path = folder / name[:2] / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    when = time.time() - age
    os.utime(path, (when, when))
    return path


def room(root: Path, folder: str, limit: int) -> Any:
    from airtune.training.features.room import Room

    (root / folder).mkdir(parents=True, exist_ok=True)
    return Room(root, root / folder, limit)


def test_what_was_used_least_recently_makes_way(tmp_path: Path) -> None:
    oldest = kept(tmp_path / "other", "aa", 40 * KB, age=500)
    older = kept(tmp_path / "own", "bb", 40 * KB, age=400)
    newer = kept(tmp_path / "other", "cc", 10 * KB, age=300)
    own = room(tmp_path, "own", 100 * KB)
    assert own.take(10 * KB), "there is room as it is"
    assert oldest.exists()
    assert own.take(30 * KB)
    assert not oldest.exists()
    assert older.exists()
    assert own.take(40 * KB)
    assert not older.exists()
    assert newer.exists()
    assert not own.take(200 * KB), "more than all of it"
    assert newer.exists(), "nothing makes way in vain"


def test_what_a_living_run_uses_stays(tmp_path: Path) -> None:
    used = kept(tmp_path / "other", "aa", 90 * KB, age=500)
    other, own = room(tmp_path, "other", 100 * KB), room(tmp_path, "own", 100 * KB)
    assert not own.take(20 * KB)
    assert used.exists()
    other.close()
    assert own.take(20 * KB)
    assert not used.exists()


def test_what_this_run_uses_itself_stays_and_so_does_what_a_second_run_on_the_same_features_uses(
    tmp_path: Path,
) -> None:
    wanted = kept(tmp_path / "own", "aa", 60 * KB, age=0)
    stale = kept(tmp_path / "own", "bb", 30 * KB, age=900)
    first = room(tmp_path, "own", 100 * KB)
    second = room(tmp_path, "own", 100 * KB)
    assert not second.take(20 * KB), "it is not alone, so it removes nothing of its own"
    assert first.take(20 * KB)
    assert wanted.exists()
    assert not stale.exists()
    assert not first.take(60 * KB)
    assert wanted.exists()


def test_never_more_than_half_of_what_is_free(tmp_path: Path) -> None:
    import shutil

    free = shutil.disk_usage(tmp_path).free
    assert room(tmp_path, "own", 10 * free).limit <= free // 2 + 2**30


def test_a_lock_that_somebody_holds_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    with (folder / ".airtune-lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert room(tmp_path, "own", 100 * KB).take(KB)
