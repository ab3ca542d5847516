"""Every image is looked at whole, and only once as long as it does not change."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import sys
from pathlib import Path

import pytest
from films import write_film
from PIL import Image

from airtune.datasets.crew import Crew
from airtune.datasets.draft import Reject
from airtune.datasets.pictures import image_files, inspection, known_images
from airtune.datasets.pictures.image_facts import ImageFacts
from airtune.datasets.pictures.images import Images
from airtune.datasets.pictures.inspection import KNOWN, inspect
from airtune.datasets.pictures.known_images import KnownImages
from airtune.datasets.pictures.videos import VideoFacts


class Watched(Images):
    """Images that notes which ones were read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root.as_uri())
        self.seen: list[str] = []

    def read(self, key: str, digest: str | None = None) -> bytes:
        self.seen.append(key)
        return super().read(key, digest)

    def path(self, key: str, digest: str | None = None) -> Path:
        self.seen.append(key)
        return super().path(key, digest)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Thirty images, one of them broken; files count as settled at once."""
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(image_files, "_SETTLED_NS", -(10**9))
    folder = tmp_path / "data" / "images"
    folder.mkdir(parents=True)
    for index in range(30):
        Image.new("RGB", (20 + index, 10), (index * 8, 1, 2)).save(folder / f"{index:02}.png")
    (folder / "07.png").write_bytes(b"broken")
    return tmp_path / "data"


def keys_of(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.*"))]


def test_a_second_run_reads_nothing_and_finds_the_same(root: Path) -> None:
    write_film(root / "a.mp4", frames=5)
    images = [key for key in keys_of(root) if key.endswith(".png")]
    first = inspect(Images(root.as_uri()), images, videos=["a.mp4"])
    assert isinstance(first["a.mp4"], VideoFacts)
    again = Watched(root)
    told: list[tuple[int, int]] = []
    second = inspect(again, images, lambda *at: told.append(at), videos=["a.mp4"])
    assert again.seen == []
    assert told == [(done, 31) for done in range(1, 32)]
    assert list(second) == list(first) == sorted(first)
    for key, before in first.items():
        now = second[key]
        if isinstance(before, Reject):
            assert isinstance(now, Reject)
            assert (now.reason, now.message) == (before.reason, before.message)
        else:
            assert now == before


def test_processes_find_what_threads_find_and_what_they_find_is_known(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_film(root / "a.mp4", frames=5)
    images = [key for key in keys_of(root) if key.endswith(".png")]
    threads = inspect(Images(root.as_uri()), images, videos=["a.mp4"])
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "another home"))
    monkeypatch.setattr(inspection, "WORTH_SPREADING", 10)
    with Crew(2) as crew:
        processes = inspect(Images(root.as_uri()), images, videos=["a.mp4"], crew=crew)
    assert list(processes) == list(threads)
    assert [str(content) for content in processes.values()] == [str(content) for content in threads.values()]
    again = Watched(root)
    inspect(again, images, videos=["a.mp4"])
    assert again.seen == []


def test_a_file_that_changed_is_looked_at_again_even_with_its_size_and_time_set_back(root: Path) -> None:
    inspect(Images(root.as_uri()), keys_of(root))
    path = root / "images/03.png"
    before = path.stat()
    other = bytearray(path.read_bytes())
    other[-20] ^= 1
    path.write_bytes(other)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = Watched(root)
    found = inspect(again, keys_of(root))
    assert again.seen == ["images/03.png"]
    assert isinstance(found["images/03.png"], Reject)


def test_a_file_that_was_written_just_now_may_change_unseen_and_is_not_trusted(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_files, "_SETTLED_NS", 10**12)
    inspect(Images(root.as_uri()), keys_of(root))
    again = Watched(root)
    inspect(again, keys_of(root))
    assert sorted(again.seen) == keys_of(root)


def test_a_moved_file_is_read_but_not_decoded_again_and_its_name_counts_anew(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = inspect(Images(root.as_uri()), keys_of(root))
    shutil.copytree(root, tmp_path / "moved")
    (tmp_path / "moved/images/01.png").rename(tmp_path / "moved/images/01.jpg")
    images = Images((tmp_path / "moved").as_uri())
    with monkeypatch.context() as patch:
        patch.setattr(inspection, "decode", None)  # would be no function to call
        found = inspect(images, keys_of(tmp_path / "moved"))["images/01.jpg"]
    before = first["images/01.png"]
    assert isinstance(found, ImageFacts)
    assert isinstance(before, ImageFacts)
    assert (found.changes, before.changes) == (("suffix",), ())
    assert found.digest == before.digest


def test_what_is_known_does_not_let_a_link_lead_out(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(root / "images", outside)
    (root / "link.png").symlink_to(root / "images/01.png")
    (root / "linked").symlink_to(root / "images")
    keys = ["link.png", "linked/02.png"]
    assert all(isinstance(found, ImageFacts) for found in inspect(Images(root.as_uri()), keys).values())
    for name, target in (("link.png", outside / "01.png"), ("linked", outside)):
        (root / name).unlink()
        (root / name).symlink_to(target)
    found = inspect(Images(root.as_uri()), keys)
    assert [content.reason for content in found.values() if isinstance(content, Reject)] == ["image-outside"] * 2


def test_interrupted_processes_go_quietly(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "WORTH_SPREADING", 10)
    monkeypatch.setattr(inspection, "_JOB", 2)
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    def interrupt(done: int, _: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Crew(2) as crew:
        inspect(Images(root.as_uri()), keys_of(root), interrupt, crew=crew)
    gc.collect()
    assert unraisable == []
    assert multiprocessing.active_children() == []


def test_interrupted_it_keeps_what_it_has(root: Path) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspect(Images(root.as_uri()), keys_of(root), interrupt)
    again = Watched(root)
    inspect(again, keys_of(root))
    assert len(again.seen) == 30 - 12


@pytest.mark.parametrize("content", [b"no database at all" * 300, b""])
def test_a_damaged_memory_is_no_error(root: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = root.parent / "home" / Path(*KNOWN)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    for _ in range(2):
        assert len(inspect(Images(root.as_uri()), keys_of(root))) == 30
    assert ("cannot be used" in caplog.text) == bool(content)
    again = Watched(root)
    inspect(again, keys_of(root))
    assert again.seen == []


def test_other_rules_make_all_that_was_known_void(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inspect(Images(root.as_uri()), keys_of(root))
    monkeypatch.setattr(known_images, "_rules", lambda: "others")
    again = Watched(root)
    inspect(again, keys_of(root))
    assert len(again.seen) == 30


def test_a_dataset_that_nobody_looked_at_for_half_a_year_is_forgotten(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root.parent / "home" / Path(*KNOWN)
    inspect(Images(root.as_uri()), keys_of(root))
    monkeypatch.setattr(known_images, "_KEPT_S", -1.0)
    with KnownImages.at(path, "file:///elsewhere"):
        pass
    monkeypatch.undo()
    with KnownImages.at(path, root.as_uri()) as known:
        assert list(known.unchanged(Images(root.as_uri()).versions(keys_of(root)))) == []
