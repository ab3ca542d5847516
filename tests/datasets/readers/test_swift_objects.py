"""Boxes beside a conversation, as ms-swift writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airtune.datasets.check import Asked, check
from airtune.datasets.draft import Draft, Outcome, SetAside
from airtune.datasets.readers.chat_jsonl import ChatReader
from airtune.datasets.sources.source import Source
from airtune.runspec.tasks import Task

ONE, OTHER = [10, 20, 30, 40], [50.5, 60, 70, 80]


def read(root: Path, asked: str, answered: str, objects: Any, task: Task = Task.PHRASE_GROUNDING) -> list[Outcome]:
    Image.new("RGB", (100, 100)).save(root / "a.png")
    messages = [{"role": "user", "content": f"<image>{asked}"}, {"role": "assistant", "content": answered}]
    line = {"messages": messages, "images": ["a.png"], "objects": objects}
    (root / "data.jsonl").write_text(json.dumps(line))
    return list(ChatReader(Source.open(root.as_uri())).read(task))


@pytest.mark.parametrize(
    ("asked", "answered", "ref", "prompt", "sentence", "phrases"),
    [
        (
            "Describe it.",
            "<ref-object><bbox> and <ref-object><bbox> play",
            ["a dog", "a cat"],
            "Describe it.",
            "a dog and a cat play",
            {"a dog": [ONE], "a cat": [OTHER]},
        ),
        ("Find the <ref-object>", "<bbox><bbox>", ["sheep"], "Find the sheep", "sheep", {"sheep": [ONE, OTHER]}),
        ("", "<ref-object><bbox><bbox>", ["sheep"], None, "sheep", {"sheep": [ONE, OTHER]}),
        ("", "<ref-object><bbox>, <ref-object><bbox>", ["a", "a"], None, "a, a", {"a": [ONE, OTHER]}),
    ],
)
def test_marks_are_filled_in_their_order(
    tmp_path: Path, asked: str, answered: str, ref: list[str], prompt: str, sentence: str, phrases: dict[str, Any]
) -> None:
    [draft] = read(tmp_path, asked, answered, {"ref": ref, "bbox": [ONE, OTHER]})
    assert isinstance(draft, Draft), draft
    assert (draft.prompt, draft.units, draft.truth["sentence"]) == (prompt, "pixel", sentence)
    assert {item["phrase"]: item["boxes"] for item in draft.truth["groundings"]} == phrases


def test_boxes_are_pixels_of_the_image_or_fractions(tmp_path: Path) -> None:
    targets = []
    for number, objects in enumerate(
        [
            {"ref": ["x"], "bbox": [[10, 20, 50, 75]]},
            {"ref": ["x"], "bbox": [[0.1, 0.2, 0.5, 0.75]], "bbox_type": "norm1"},
        ]
    ):
        root = tmp_path / str(number)
        (root / "work").mkdir(parents=True)
        (root / "data").mkdir()
        read(root / "data", "", "<ref-object><bbox>", objects)
        asked = Asked(uri=(root / "data").as_uri(), task=Task.PHRASE_GROUNDING, minimum_images=1)
        records = check(asked, root / "work", lambda line: None).assembly.records
        targets += [record.target for record in records.rows(range(len(records)))]
    assert len(targets) == 2
    assert targets[0] == targets[1]
    assert "[102,205,512,768]" in targets[0]


@pytest.mark.parametrize(
    ("asked", "answered", "objects", "reason"),
    [
        ("", "<bbox>", {"ref": [], "bbox": [ONE]}, "annotation-shape"),
        ("", "<ref-object><bbox>", {"ref": ["a"], "bbox": []}, "annotation-shape"),
        ("", "<ref-object><bbox>", {"ref": ["a"], "bbox": [ONE, OTHER]}, "annotation-shape"),
        ("", "<ref-object><bbox>", {"ref": "a", "bbox": [ONE]}, "annotation-shape"),
        ("", "<ref-object><bbox>", {"ref": [7], "bbox": [ONE]}, "annotation-shape"),
        ("", "<ref-object><bbox>", {"ref": ["a"], "bbox": [ONE], "bbox_type": "thousandths"}, "annotation-shape"),
        ("", "<ref-object><bbox>", ["a"], "annotation-shape"),
        ("", "<ref-object><bbox>", {"ref": ["a"], "bbox": [[1, 2]]}, "box-shape"),
        ("What is <bbox>?", "<ref-object>", {"ref": ["a"], "bbox": [ONE]}, "annotation-shape"),
        ("<ref-object>?", "there", {"ref": ["a"], "bbox": []}, "answer-unreadable"),
        ("<ref-object>?", "there <bbox>", {"ref": ["a dog"], "bbox": [ONE]}, "phrase-missing"),
    ],
)
def test_what_does_not_belong_together_is_set_aside(
    tmp_path: Path, asked: str, answered: str, objects: Any, reason: str
) -> None:
    [aside] = read(tmp_path, asked, answered, objects)
    assert isinstance(aside, SetAside), aside
    assert aside.reason == reason, aside.message


def test_marks_are_trained_as_text_by_no_task(tmp_path: Path) -> None:
    for task in (Task.VQA, Task.GENERIC, Task.FREEFORM):
        [aside] = read(tmp_path, "Where?", "<ref-object><bbox>", {"ref": ["a"], "bbox": [ONE]}, task)
        assert isinstance(aside, SetAside)
        assert aside.reason == "other-task"
