"""``airtune data diff``: two datasets, two runs, or one of each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airtune.cli import main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An AIRTUNE_HOME of the test's own."""
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / ".airtune"))
    monkeypatch.delenv("AIRTUNE_STORE", raising=False)
    return tmp_path / ".airtune"


def dataset(folder: Path, answers: dict[int, str], shade: int = 0) -> Path:
    """One question an image, whose grey goes by its number."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for number, answer in answers.items():
        Image.new("RGB", (40, 30), (number % 100 + shade, shade, shade)).save(folder / f"images/{number}.png")
        messages = [{"role": "user", "content": "What is <it>?"}, {"role": "assistant", "content": answer}]
        lines.append(json.dumps({"messages": messages, "images": [f"images/{number}.png"]}))
    (folder / "all.jsonl").write_text("\n".join(lines))
    return folder


def run_of(home: Path, data: Path, run_id: str) -> str:
    """The address of a run that has validated a dataset."""
    from airtune.datasets.stage import validate
    from airtune.stores.run_directory import RunDirectory

    blocks = [
        {"block": "dataset", "style": {},
         "settings": {"projectKind": "vqa", "airtune": {"source": data.as_uri(), "minimumImages": 5}}},
        {"block": "model", "style": {}, "settings": {
            "architecture": {"name": "qwen3vl", "size": "2B"}, "quantization": {"enabled": False}, "compute": {},
            "evaluation": {}}},
    ]  # fmt: skip
    flow = {"name": run_id, "schema": "v1", "tolerations": {}, "settings": {}, "blocks": blocks}
    run = RunDirectory.create((home / "store").as_uri(), run_id, json.dumps({"spec": {"flow": flow}}))
    validate(run, tell=lambda line: None)
    return run.uri


def as_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return dict(json.loads(capsys.readouterr().out))


def test_two_folders_are_compared_with_words_numbers_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset(tmp_path / "old", {number: f"<b>{number % 3}" for number in range(60)})
    dataset(tmp_path / "new", {number: f"<b>{number % 3}" for number in range(5, 59)} | {99: "new", 59: "other"}, 0)
    monkeypatch.chdir(tmp_path)
    assert main(["data", "diff", "old", "new", "--report", "page.html"]) == 0
    told = capsys.readouterr().out
    assert "54 the same, 1 added, 5 removed, 1 changed" in told
    assert 'answer of images/59.png (all.jsonl:56): {"vqa":{"answer":"<b>2"}} -> {"vqa":{"answer":"other"}}' in told
    assert "no property has drifted" in told
    page = (tmp_path / "page.html").read_text()
    assert "<b>" not in page
    assert not re.search(r"<script|https?://(?!www\.w3\.org)|src=|url\(", page)
    assert page.count("<svg") == page.count("</svg>") == page.count('role="img"') > 5
    for word in ("Changed", "Added", "Removed", "What has drifted", "stability index", "Kolmogorov-Smirnov"):
        assert word in page


def test_a_run_against_a_dataset_by_id_and_address(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dark = dataset(tmp_path / "dark", {number: "cat" if number % 2 else "dog" for number in range(80)})
    bright = dataset(tmp_path / "bright", dict.fromkeys(range(80), "cat"), 150)
    uri = run_of(home, dark, "first")
    capsys.readouterr()
    for before in ("first", uri):
        assert main(["data", "diff", before, str(bright), "--json"]) == 0
        found = as_json(capsys)
        levels = {each["name"]: each["level"] for each in found["properties"]}
        assert levels["brightness"] == levels["answers"] == "much"
        assert levels["image_width"] == levels["questions"] == "none"
        assert (found["before"]["name"], found["level"]) == ("first", "much")
    assert main(["data", "diff", "first", uri, "--json"]) == 0
    assert as_json(capsys)["words"] == "the same samples as first"


def test_what_is_neither_a_run_nor_a_dataset_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    data = str(dataset(tmp_path / "data", {1: "x"}))
    assert main(["data", "diff", "no-such-run", data]) == 64
    assert "there is no run here" in capsys.readouterr().err
    assert main(["data", "diff", str(tmp_path / "none"), data]) in (64, 65)
    assert main(["data", "diff", f"{(home / 'store').as_uri()}/runs/none", data]) in (64, 65)
    for nothing in ("://", "ftp://a/b", "s3://", "file:///", "", "a b"):
        assert main(["data", "diff", nothing, data]) in (64, 65)
    assert main(["data", "diff", data, data, "--report", str(home / "none" / "page.html")]) == 64
    assert "lies in a folder that does not exist" in capsys.readouterr().err
    assert main(["data", "diff", data, data, "--report", str(tmp_path)]) == 64
    assert "Traceback" not in capsys.readouterr().err


def test_small_and_empty_datasets_are_compared_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = dataset(tmp_path / "one", {1: "x", 2: "y"}), dataset(tmp_path / "two", {1: "x"})
    assert main(["data", "diff", str(one), str(two), "--json", "--report", str(tmp_path / "page.html")]) == 0
    found = as_json(capsys)
    assert (found["samples"]["same"], found["samples"]["removed"], found["level"]) == (1, 1, "none")
    assert "no property has drifted" in (tmp_path / "page.html").read_text()
