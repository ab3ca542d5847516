"""A model's weight files: found, complete, and never a pickle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from airtune.configs import configs_root
from airtune.errors import SettingsError
from airtune.publishing.weights import header, refuse_pickles, weight_files

TINY = configs_root() / "demo" / "tiny-vlm"


@pytest.fixture
def sharded(large_base: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "sharded"
    shutil.copytree(large_base, folder)
    return folder


def test_a_single_file_and_shards_are_found(large_base: Path) -> None:
    assert weight_files(TINY) == ["model.safetensors"]
    assert weight_files(large_base) == [
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]


def test_safetensors_beside_other_formats_are_what_counts(sharded: Path) -> None:
    (sharded / "consolidated.safetensors").write_bytes(b"")
    (sharded / "pytorch_model.bin").write_bytes(b"")
    assert len(weight_files(sharded)) == 3


def test_a_missing_shard_and_one_that_is_cut_short_are_both_named(sharded: Path) -> None:
    (sharded / "model-00001-of-00002.safetensors").unlink()
    with (sharded / "model-00002-of-00002.safetensors").open("r+b") as stream:
        stream.truncate(1_000_000)
    with pytest.raises(SettingsError) as caught:
        weight_files(sharded)
    first, second = caught.value.problems
    assert "model-00001-of-00002.safetensors" in first.where
    assert "missing" in first.message
    assert "20,400," in second.message
    assert "1,000,000" in second.message


def test_a_tensor_that_the_index_promises_and_the_shard_lacks_is_named(sharded: Path) -> None:
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["lm_head.weight"] = "model-00002-of-00002.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(SettingsError, match=r"lm_head\.weight"):
        weight_files(sharded)


@pytest.mark.parametrize(
    "shard", ["../outside.safetensors", "/etc/passwd", "pytorch_model-00001.bin", "a/b.safetensors"]
)
def test_an_index_cannot_name_a_file_elsewhere_or_a_pickle(sharded: Path, shard: str) -> None:
    path = sharded / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(SettingsError, match="no safetensors file beside it") as caught:
        weight_files(sharded)
    assert shard in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {}}', "\x00"])
def test_an_index_that_is_none_is_told_in_words(sharded: Path, text: str) -> None:
    (sharded / "model.safetensors.index.json").write_text(text)
    with pytest.raises(SettingsError, match="index"):
        weight_files(sharded)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_a_model_with_nothing_but_a_pickle_is_refused_with_the_way_out(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(SettingsError, match="pickled weights") as caught:
        weight_files(tmp_path)
    assert name in str(caught.value)
    assert "save_pretrained" in str(caught.value)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has no weights"):
        weight_files(tmp_path)
    with pytest.raises(SettingsError, match="has no weights"):
        weight_files(tmp_path / "absent")


@pytest.mark.parametrize(
    "data",
    [b"", b"1234567", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"[]", b"\x02" + b"\0" * 7 + b"{}more", b"\x04" + b"\0" * 7],
)
def test_what_is_no_safetensors_file_is_no_header(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=r"header|bytes|JSON|value|double"):
        header(tmp_path / "model.safetensors")
    with pytest.raises(SettingsError, match="not a whole safetensors file"):
        weight_files(tmp_path)


def test_every_pickle_in_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("training_args.bin", "deep/optimizer.pt", "fine.json"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(SettingsError) as caught:
        refuse_pickles(tmp_path)
    assert len(caught.value.problems) == 2
