"""``airtune data``: a dataset by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airtune.cli import main
from airtune.configs import configs_root


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An AIRTUNE_HOME of the test's own."""
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / ".airtune"))
    return tmp_path / ".airtune"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small dataset in chat JSONL: questions about images."""
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    for number in range(24):
        Image.new("RGB", (40, 30), (number, 0, 99)).save(folder / f"images/{number}.png")
    write(folder, [chat(f"{number}.png", "How many?", f"{number}") for number in range(24)])
    return folder


def chat(image: str, asked: str, said: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    return {"messages": messages, "images": [image]}


def write(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / "all.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_a_dataset_is_checked_by_its_path_and_its_task_is_found(
    data: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(data.parent)
    before = sorted(data.rglob("*"))
    assert main(["data", "check", "data"]) == 0
    told = capsys.readouterr()
    assert "passed: 24 samples on 24 images" in told.out
    assert "task vqa" in told.err
    assert sorted(data.rglob("*")) == before
    assert not list(home.rglob("*.parquet"))


def test_machines_get_json_and_people_a_page(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = data.parent / "page.html"
    assert main(["data", "check", data.as_uri(), "--json", "--task", "generic", "--report", str(page)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["exit_code"], told["passed"], told["facts"]["task"], told["samples"]) == (0, True, "generic", 24)
    assert "24 samples on 24 images" in page.read_text()


def test_what_a_run_would_refuse_has_its_exit_code(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        (data / f"images/{number}.png").write_bytes(b"no image")
    assert main(["data", "check", str(data)]) == 65
    told = capsys.readouterr()
    assert "6 of 24 samples (25.0%) would have to be set aside" in told.err
    assert "refused: 18 samples" in told.out


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--task", "poetry"], 64, "no such task"),
        (["--format", "poetry"], 64, "not a format"),
    ],
)
def test_names_that_do_not_exist_are_wrong_settings(
    data: Path, arguments: list[str], code: int, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(data), *arguments]) == code
    assert word in capsys.readouterr().err


def test_a_dataset_that_is_for_nothing_says_so(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(data, [{"messages": []}] * 30)
    assert main(["data", "check", str(data)]) == 65
    assert "name its --task" in capsys.readouterr().err
    assert main(["data", "check", str(data.parent / "nowhere")]) == 65


def test_a_suite_and_a_model_can_be_tried_without_a_run(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kwargs = {"column": "width", "max_value": 39}
    narrow = {"type": "expect_column_values_to_be_between", "kwargs": kwargs, "description": "images are narrow"}
    suite = data.parent / "suite.json"
    suite.write_text(json.dumps({"name": "own", "expectations": [narrow]}))
    page = data.parent / "page.html"
    options = ["--expectations", str(suite), "--model", str(configs_root() / "demo/tiny-vlm"), "--report", str(page)]
    assert main(["data", "check", str(data), *options, "--json"]) == 65
    found = json.loads(capsys.readouterr().out)
    assert [problem["message"] for problem in found["problems"]] == [
        "not so: images are narrow; 24 of 24 (100.0 %): 40"
    ]
    assert "Length of the trained answer in tokens" in page.read_text()
    suite.write_text("{")
    assert main(["data", "check", str(data), "--expectations", str(suite)]) == 64
    assert "not a suite of expectations" in capsys.readouterr().err
