"""Images by key, from a folder; what validation saw is what is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from airtune.datasets.pictures.decoding import UnusableImageError
from airtune.datasets.pictures.images import Images
from airtune.datasets.record import Record
from airtune.errors import DataError, ExitCode


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "a dataset #1" / "images"
    folder.mkdir(parents=True)
    for index in range(3):
        Image.new("RGB", (20 + index, 10), (index * 40, 1, 2)).save(folder / f"{index} ü.png")
    return folder.parent


def record_of(root: Path, key: str) -> Record:
    return Record(
        id=key,
        split="train",
        task="vqa",
        images=(key,),
        image_digests=(hashlib.sha256((root / key).read_bytes()).hexdigest(),),
        video=None,
        prompt="",
        target="",
        truth="",
        group="",
        width=1,
        height=1,
        digest="",
        source_file="",
        source_line=1,
    )


def test_an_image_is_loaded_by_its_key_also_in_another_process(root: Path) -> None:
    images = Images(root.as_uri())
    assert images.load("images/1 ü.png").size == (21, 10)
    assert images.path("images/1 ü.png").read_bytes() == (root / "images/1 ü.png").read_bytes()
    with ProcessPoolExecutor(1) as pool:
        assert pool.submit(images.load, "images/2 ü.png").result().size == (22, 10)
    assert pickle.loads(pickle.dumps(images)).load("images/0 ü.png").mode == "RGB"


def test_an_image_that_changed_or_went_since_validation_is_refused_by_name(root: Path) -> None:
    records = [record_of(root, f"images/{index} ü.png") for index in range(3)]
    images = Images(root.as_uri())
    assert images.verify(records) == 3
    Image.new("RGB", (20, 10), "red").save(root / "images/0 ü.png")
    (root / "images/2 ü.png").unlink()
    with pytest.raises(DataError) as caught:
        images.verify(records)
    assert caught.value.exit_code == ExitCode.DATA
    words = str(caught.value)
    assert "2 of 3 images" in words
    assert "images/0 ü.png: the file is not the one that was validated" in words
    assert "images/2 ü.png: there is no such file" in words
    assert "1 ü.png" not in words
    with pytest.raises(UnusableImageError, match="not the one that was validated"):
        images.load_all(records[0])
    assert len(images.load_all(records[1])) == 1


def test_one_image_of_many_samples_is_looked_at_once(root: Path) -> None:
    record = record_of(root, "images/0 ü.png")
    assert Images(root.as_uri()).verify([dataclasses.replace(record, id=str(n)) for n in range(5)]) == 1


@pytest.mark.parametrize(
    "key", ["../secret.png", "/etc/passwd", "images/../../secret.png", "a\\b.png", "", "a\0.png", "images//0 ü.png"]
)
def test_a_path_that_leaves_the_dataset_is_refused(root: Path, key: str) -> None:
    Image.new("RGB", (20, 10)).save(root.parent / "secret.png")
    with pytest.raises(UnusableImageError) as caught:
        Images(root.as_uri()).load(key)
    assert caught.value.reason == "image-outside"


def test_a_symbolic_link_may_lead_about_in_the_dataset_but_not_out_of_it(root: Path) -> None:
    Image.new("RGB", (20, 10)).save(root.parent / "secret.png")
    (root / "images/inside.png").symlink_to(root / "images/0 ü.png")
    (root / "images/outside.png").symlink_to(root.parent / "secret.png")
    (root / "images/circle.png").symlink_to(root / "images/circle.png")
    (root / "elsewhere").symlink_to(root.parent)
    images = Images(root.as_uri())
    assert images.load("images/inside.png").size == (20, 10)
    for key, reason in (
        ("images/outside.png", "image-outside"),
        ("elsewhere/secret.png", "image-outside"),
        ("images/circle.png", "image-missing"),
    ):
        with pytest.raises(UnusableImageError) as caught:
            images.load(key)
        assert caught.value.reason == reason


@pytest.mark.timeout(20)
def test_what_is_not_a_file_is_not_opened(root: Path) -> None:
    os.mkfifo(root / "images/pipe.png")
    for key in ("images/pipe.png", "images"):
        with pytest.raises(UnusableImageError, match="not a file"):
            Images(root.as_uri()).load(key)
