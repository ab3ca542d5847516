"""``airtune data convert``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from detection_formats import SCENES, write_voc

from airtune.cli import main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An AIRTUNE_HOME of the test's own."""
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / ".airtune"))
    monkeypatch.chdir(tmp_path)


def test_a_dataset_is_converted_by_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_voc(tmp_path / "voc", SCENES)
    assert main(["data", "convert", "voc", "out/coco", "--to", "coco"]) == 0
    assert "3 for phrase-grounding, on 4 images, as coco" in capsys.readouterr().out.replace("\n", " ")
    assert main(["data", "convert", "voc", "vi", "--to", "vi", "--json", "--link"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["samples"], told["not_written"]) == ({"phrase-grounding": 3}, {"not-representable": 1})
    assert "d.png" in Path(told["not_written_file"]).read_text()


def test_the_folder_may_be_named_by_its_uri_and_is_on_this_machine(tmp_path: Path) -> None:
    write_voc(tmp_path / "voc", SCENES)
    assert main(["data", "convert", "voc", (tmp_path / "out put").as_uri(), "--to", "vi"]) == 0
    assert (tmp_path / "out put/dump").is_dir() or (tmp_path / "out put/training").is_dir()
    assert main(["data", "convert", "voc", "s3://bucket/out", "--to", "vi"]) == 64
    assert not (tmp_path / "file:").exists()
    assert not (tmp_path / "s3:").exists()


def test_what_cannot_be_done_is_said_with_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_voc(tmp_path / "voc", SCENES)
    assert main(["data", "convert", "voc", "voc", "--to", "vi"]) == 64
    assert main(["data", "convert", "voc", "out", "--to", "voc"]) == 64
    assert main(["data", "convert", "voc", "out", "--to", "vi", "--task", "vqa"]) == 65
    assert "other-task" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
