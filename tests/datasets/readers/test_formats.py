"""Finding a dataset, and finding out what it is."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from detection_formats import SCENES, WRITERS
from tests.datasets.conftest import ViFolder, vqa

from airtune.datasets.readers.formats import READERS, reader_for
from airtune.datasets.sources.source import Source
from airtune.errors import AirtuneError, DataError, NotPermittedError, SettingsError
from airtune.runspec.blocks import DatasetFormat


def fails(uri: str, kind: type[AirtuneError] = DataError) -> str:
    with pytest.raises(kind) as caught:
        reader_for(Source.open(uri), None)
    return str(caught.value)


def test_the_formats_are_found_by_looking(folder: ViFolder, tmp_path: Path) -> None:
    folder.sample("dump", "a", vqa(("What?", "x")))
    assert reader_for(Source.open(folder.root.as_uri()), None)[0] == "vi"
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat/x.jsonl").write_text('{"messages": []}')
    assert reader_for(Source.open((tmp_path / "chat").as_uri()), "auto")[0] == "chat-jsonl"


def test_a_folder_that_looks_like_two_formats_is_refused_until_one_is_named(folder: ViFolder) -> None:
    folder.sample("training", "a", vqa(("What?", "x")))
    (folder.root / "chat.jsonl").write_text('{"messages": []}')
    words = fails(folder.root.as_uri())
    assert "2 formats: vi, chat-jsonl" in words
    assert "`format`" in words


@pytest.mark.parametrize("name", ["coco", "yolo", "voc", "csv"])
def test_another_format_in_folders_with_vi_s_names_is_what_it_is(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / "as it is", SCENES)
    for path in sorted((tmp_path / "as it is").rglob("*")):
        key = path.relative_to(tmp_path / "as it is").as_posix()
        if path.is_file():
            folder = "training/images" if path.suffix == ".png" else "training/annotations"
            target = tmp_path / "data" / folder / (path.name if name != "coco" else key.replace("/", "-"))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    if name == "yolo":
        (tmp_path / "data/training/annotations").rename(tmp_path / "data/training/labels")
    assert reader_for(Source.open((tmp_path / "data").as_uri()), None)[0] == name


def test_the_name_of_a_format_overrules_what_it_looks_like(folder: ViFolder) -> None:
    folder.sample("training", "a", vqa(("What?", "x")))
    source = Source.open(folder.root.as_uri() + "/")
    assert reader_for(source, "chat-jsonl")[0] == "chat-jsonl"
    with pytest.raises(SettingsError, match=r"vi, chat-jsonl, .*auto"):
        reader_for(source, "cocoa")


def test_every_format_can_be_named_in_a_run_json() -> None:
    assert set(get_args(DatasetFormat)) == set(READERS)


def test_a_dataset_that_does_not_exist_is_bad_data_with_the_nearest_name(folder: ViFolder, tmp_path: Path) -> None:
    words = fails((tmp_path / "dat").as_uri())
    assert "does not exist" in words
    assert "is 'data' meant?" in words


def test_a_file_instead_of_a_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"{}")
    assert "is a file, not a folder" in fails((tmp_path / "a.jsonl").as_uri())


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "e" / "training" / "images").mkdir(parents=True)
    (tmp_path / "e" / ".DS_Store").write_bytes(b"x")
    assert "is an empty folder" in fails((tmp_path / "e").as_uri())


def test_a_folder_in_no_known_format_is_described(tmp_path: Path) -> None:
    (tmp_path / "d" / "pictures").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "c.xml"):
        (tmp_path / "d" / "pictures" / name).write_bytes(b"x")
    words = fails((tmp_path / "d").as_uri())
    assert "2 .jpg, 1 .xml" in words
    assert "in the folders pictures" in words
    assert "allowed: vi, chat-jsonl" in words


def test_a_dataset_one_folder_further_down_is_pointed_at(folder: ViFolder) -> None:
    folder.sample("training", "a", vqa(("What?", "x")))
    assert f"name {folder.root.parent.as_uri()}/data" in fails(folder.root.parent.as_uri())


def test_a_place_that_the_platform_forbids_is_not_even_listed(
    folder: ViFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.sample("training", "a", vqa(("What?", "x")))
    monkeypatch.setenv("AIRTUNE_ALLOWED_SOURCES", f"s3://data, {(tmp_path / 'dat').as_uri()}")
    assert "s3://data" in fails(folder.root.as_uri(), NotPermittedError)
    monkeypatch.setenv("AIRTUNE_ALLOWED_SOURCES", tmp_path.as_uri())
    assert reader_for(Source.open(folder.root.as_uri()), None)[0] == "vi"


@pytest.mark.parametrize("uri", ["data", "/data", "https://example.com/data", "s3://", "file://host/x", ""])
def test_what_is_no_uri_of_a_dataset_is_a_wrong_setting(uri: str) -> None:
    with pytest.raises(SettingsError):
        Source.open(uri)
