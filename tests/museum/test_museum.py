"""The museum: every exhibit is a dataset with one thing wrong, and what has to be said about it.

``museum.json`` is the catalogue, one exhibit a line:

- ``name``, and ``how`` it was made where its file does not show that;
- ``file`` below ``exhibits/`` (a folder is the whole dataset) and the place ``as`` which it lies in the dataset;
- ``task``, and ``format`` where it must be named;
- ``asks``: an image that a good annotation asks about; ``beside``: further files by their place;
- ``link``: the file holds where a symbolic link leads; ``archive``: the file is the dataset; ``company``: good samples
  stand beside it;
- ``exit``: code of ``airtune validate``; ``found``: samples in; ``reasons``: samples set aside by reason; ``says``:
  words of the refusal, the warning, the note or the line in ``set-aside.jsonl``.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from dataset_run import dataset_run
from PIL import Image

from airtune.cli import main
from airtune.datasets.draft import REMEDIES
from airtune.datasets.record import read_records
from airtune.datasets.stage import validate
from airtune.errors import AirtuneError, ExitCode
from airtune.stores import layout

HERE = Path(__file__).parent
EXHIBITS: list[dict[str, Any]] = json.loads((HERE / "museum.json").read_text(encoding="utf-8"))
COMPANY = 12
PICTURE = "a.png"


def vi_line(image: str, question: str, answer: str) -> str:
    contents = {"type": "Vqa", "interactions": [{"order": 1, "question": question, "answer": answer}]}
    return json.dumps({"id": "1", "asset": {"type": "Image", "filename": image}, "contents": contents}) + "\n"


def put(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_symlink() and not path.exists():
        Image.new("RGB", (64, 48), (number * 20, 80, 120)).save(path)


def hang(exhibit: dict[str, Any], root: Path) -> int:
    """Lay out the exhibit's dataset; how many good samples were put beside it."""
    root.mkdir()
    file = HERE / "exhibits" / exhibit["file"]
    if file.is_dir():
        shutil.copytree(file, root, symlinks=True, dirs_exist_ok=True)
        return 0
    place = root / exhibit["as"]
    place.parent.mkdir(parents=True, exist_ok=True)
    if exhibit.get("link"):
        place.symlink_to(file.read_text(encoding="utf-8").strip())
    else:
        shutil.copyfile(file, place)
    images = place.parent if exhibit["as"].count("/") < 2 else root / "dump/images"
    picture(images / PICTURE, 0)
    for name, content in exhibit.get("beside", {}).items():
        put(root / name, content)
    if "asks" in exhibit:
        put(root / "dump/annotations/asks.jsonl", vi_line(exhibit["asks"], "What is this?", "A museum"))
    if not exhibit.get("company"):
        return 0
    for number in range(1, COMPANY + 1):
        picture(root / f"dump/images/good-{number}.png", number)
        put(root / f"dump/annotations/good-{number}.jsonl", vi_line(f"good-{number}.png", "Who?", f"answer {number}"))
    return COMPANY


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=[exhibit["name"] for exhibit in EXHIBITS])
def test_what_is_wrong_is_said_and_every_sample_is_accounted_for(
    exhibit: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    found = exhibit["found"] + hang(exhibit, tmp_path / "data")
    source = tmp_path / "data" / (exhibit["as"] if exhibit.get("archive") else "")
    named = {"format": exhibit["format"]} if "format" in exhibit else {}
    run = dataset_run(
        tmp_path / "store", "exhibit", source.as_uri(), exhibit["task"],
        minimumImages=1, maximumSetAside=0.99, **named,
    )  # fmt: skip
    said: list[str] = []
    code = 0
    try:  # anything else than an error that airtune raises on purpose is a traceback, and fails the test
        validate(run, tell=said.append)
    except AirtuneError as error:
        code = int(error.exit_code)
        said.append(str(error))
    used = read_records(run.path(layout.RECORDS)) if run.exists(layout.RECORDS) else []
    aside = (
        [json.loads(row) for row in run.store.read(layout.SET_ASIDE).splitlines()]
        if run.exists(layout.SET_ASIDE)
        else []
    )
    said += [row["message"] for row in aside]
    assert (code, Counter(row["reason"] for row in aside)) == (exhibit["exit"], exhibit["reasons"]), "\n".join(said)
    assert exhibit["says"] in "\n".join(said)
    assert len(used) + len(aside) == found
    for row in aside:
        assert row["remedy"] == REMEDIES[row["reason"]]
        assert row["source_line"] >= 1
        assert (tmp_path / "data" / row["source_file"]).is_file()


def test_the_catalogue_and_the_exhibits_belong_together() -> None:
    named = [HERE / "exhibits" / exhibit["file"] for exhibit in EXHIBITS]
    there = [path for path in (HERE / "exhibits").rglob("*") if path.is_file()]
    assert len({exhibit["name"] for exhibit in EXHIBITS}) == len(EXHIBITS) >= 60
    assert [path for path in there if not any(path.is_relative_to(each) for each in named)] == []
    assert all(path.exists() for path in named)
    assert all(exhibit["says"] for exhibit in EXHIBITS)


COMMANDS = {
    "check": [],
    "preview": ["--out", "seen", "--samples", "2"],
    "convert-vi": ["made", "--to", "vi"],
    "convert-chat": ["made", "--to", "chat-jsonl"],
}
SOME = {exhibit["file"].partition("/")[0]: exhibit["name"] for exhibit in EXHIBITS}.values()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "exhibit",
    [
        pytest.param(each, marks=() if each["name"] in SOME else pytest.mark.nightly, id=each["name"])
        for each in EXHIBITS
    ],
)
def test_no_command_answers_an_exhibit_with_a_defect(
    exhibit: dict[str, Any], command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    hang(exhibit, tmp_path / "data")
    source = tmp_path / "data" / (exhibit["as"] if exhibit.get("archive") else "")
    said = main(["data", command.partition("-")[0], source.as_uri(), *COMMANDS[command]])
    output = "".join(capsys.readouterr())
    assert said in (ExitCode.DONE, ExitCode.SETTINGS, ExitCode.DATA), output
    assert "Traceback" not in output
