"""``airtune data preview``: two files to look at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from airtune.cli import main


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six questions about six images, and the current folder beside them."""
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / ".airtune"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    lines = []
    for number in range(6):
        Image.new("RGB", (40, 30), (number, 0, 99)).save(folder / f"images/{number}.png")
        turns = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": f"{number}"}]
        lines.append(json.dumps({"messages": turns, "images": [f"{number}.png"]}))
    (folder / "all.jsonl").write_text("\n".join(lines))
    return folder


def test_it_writes_a_page_and_a_sheet_and_says_where(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(data.rglob("*"))
    assert main(["data", "preview", "data", "--out", "seen/here", "--samples", "4"]) == 0
    told = capsys.readouterr()
    assert told.out.split() == ["seen/here/preview.html", "seen/here/contact-sheet.png"]
    assert "task vqa" in told.err
    assert Path("seen/here/preview.html").read_text().count('<section class="sample"') == 4
    assert Image.open("seen/here/contact-sheet.png").format == "PNG"
    assert sorted(data.rglob("*")) == before
    assert main(["data", "preview", "data", "--out", "seen/here", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["samples"], found["read"]) == (6, 6)


def test_what_is_wrong_is_said_with_an_exit_code(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("in the way")
    assert main(["data", "preview", "data", "--out", "file"]) == 64
    assert "cannot be written to" in capsys.readouterr().err
    assert main(["data", "preview", "data", "--samples", "0"]) == 64
    assert main(["data", "preview", "nowhere", "--task", "vqa"]) == 65
    assert main(["data", "preview", "data", "--model", "nowhere"]) == 64
    told = capsys.readouterr().err
    assert "there is neither a chat template nor a tokenizer" in told
    assert "Traceback" not in told
    assert not list(Path().glob("preview*"))
