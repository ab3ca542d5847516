"""docs/datasets.md: its examples are read by the readers it describes, and its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from airtune.datasets.annotations.boxes import finish
from airtune.datasets.draft import REMEDIES, Draft
from airtune.datasets.expectations.holding import Expectations
from airtune.datasets.expectations.suites import suite_for
from airtune.datasets.expectations.table import COLUMNS
from airtune.datasets.readers.formats import reader_for
from airtune.datasets.sources.source import Source
from airtune.runspec.tasks import Task

PAGE = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
VI, CHAT = re.findall(r"```jsonl\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("task", [Task.VQA, Task.PHRASE_GROUNDING, Task.FREEFORM])
def test_the_example_of_a_vi_export_is_read_by_each_task(tmp_path: Path, task: Task) -> None:
    for name in ("images", "annotations"):
        (tmp_path / "dump" / name).mkdir(parents=True)
    Image.new("RGB", (640, 480)).save(tmp_path / "dump/images/a.jpg")
    (tmp_path / "dump/annotations/a.jsonl").write_text(VI)
    name, reader = reader_for(Source.open(tmp_path.as_uri()), None)
    assert name == "vi"
    assert sum(isinstance(outcome, Draft) for outcome in reader.read(task)) == 1


def test_the_examples_of_chat_jsonl_are_read(tmp_path: Path) -> None:
    Image.new("RGB", (640, 480)).save(tmp_path / "a.jpg")
    (tmp_path / "data.jsonl").write_text(CHAT)
    name, reader = reader_for(Source.open(tmp_path.as_uri()), None)
    assert name == "chat-jsonl"
    assert [type(outcome) for outcome in reader.read(Task.VQA)] == [Draft] * 4


def test_the_examples_of_boxes_are_one_image_in_five_forms(tmp_path: Path) -> None:
    [coco] = re.findall(r"```json\n(\{\"images\".*?)```", PAGE, re.DOTALL)
    [voc] = re.findall(r"```xml\n(.*?)```", PAGE, re.DOTALL)
    yolo, corners, sizes = re.findall(r"```\n(0 0\..*?|filename,.*?)```", PAGE, re.DOTALL)
    found = []
    for number, files in enumerate(
        [{"a.json": coco}, {"a.xml": voc}, {"a.txt": yolo, "classes.txt": "cat"}, {"a.csv": corners}, {"a.csv": sizes}]
    ):
        root = tmp_path / str(number)
        root.mkdir()
        Image.new("RGB", (640, 480)).save(root / "a.jpg")
        for name, text in files.items():
            (root / name).write_text(text)
        _, reader = reader_for(Source.open(root.as_uri()), None)
        [draft] = reader.read(Task.PHRASE_GROUNDING)
        assert isinstance(draft, Draft)
        found.append(finish(draft.truth, draft.units, (640, 480)))
    assert found == [{"sentence": "cat", "groundings": [{"phrase": "cat", "boxes": [[102, 205, 512, 614]]}]}] * 5


def test_every_reason_and_every_column_is_on_the_page() -> None:
    for reason, remedy in REMEDIES.items():
        assert f"| `{reason}` | {remedy} |" in PAGE
    for name, column in COLUMNS.items():
        assert f"| `{name}` | {column.meaning} |" in PAGE


def test_the_suite_on_the_page_can_be_used(tmp_path: Path) -> None:
    [text] = re.findall(r"```json\n(\{\"name\": \"ours\".*?)```", PAGE, re.DOTALL)
    path = tmp_path / "suite.json"
    path.write_text(text)
    suite = suite_for(Task.VQA, path.as_uri())
    Expectations(suite)
    described = [stated.config["description"] for stated in suite.expectations]
    assert "images are at least 16 pixels wide" in described
    assert "images are at least 28 pixels wide" not in described
    assert "no picture leaks" in described
    assert len(described) == len(suite_for(Task.VQA).expectations)
