"""Reading chat JSONL, as TRL, ms-swift and LLaMA-Factory have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airtune.datasets.draft import Draft, Outcome, SetAside
from airtune.datasets.readers.chat_jsonl import ChatReader
from airtune.datasets.source import Source
from airtune.runspec.tasks import Task


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (32, 32)).save(tmp_path / "images" / name)
    return tmp_path


def read(root: Path, task: Task = Task.VQA) -> list[Outcome]:
    return list(ChatReader(Source.open(root.as_uri())).read(task))


def turn(question: Any, answer: Any, images: Any = ("images/a.png",), **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "images": list(images) if isinstance(images, tuple) else images, **more}


def write(root: Path, *lines: Any, name: str = "data.jsonl") -> None:
    (root / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def only(outcomes: list[Outcome]) -> Draft:
    [outcome] = outcomes
    assert isinstance(outcome, Draft), outcome
    return outcome


PART_IMAGE = {"type": "image"}
PART_TEXT = {"type": "text", "text": "How many?"}


@pytest.mark.parametrize(
    "line",
    [
        turn("<image>\nHow many?", "Two"),
        turn("How many?<image>", "Two"),
        turn("How many?", "Two"),
        turn("How many?", '{"vqa":{"answer":"Two"}}'),
        turn([PART_IMAGE, PART_TEXT], [{"type": "text", "text": "Two"}]),
        turn("How many?", "Two", images="a.png"),
        turn("How many?", "Two", images=[{"path": "images/a.png"}]),
        {
            "conversations": [{"from": "human", "value": "<image>How many?"}, {"from": "gpt", "value": "Two"}],
            "image": "a.png",
        },
        {
            "messages": [
                {"role": "user", "content": [{**PART_IMAGE, "image": "images/a.png"}, PART_TEXT]},
                {"role": "assistant", "content": "Two"},
            ]
        },
    ],
)  # fmt: skip
def test_every_way_to_write_a_question_reads_the_same(root: Path, line: dict[str, Any]) -> None:
    write(root, line)
    draft = only(read(root))
    assert (draft.prompt, draft.truth, draft.images) == ("How many?", {"answer": "Two"}, ("images/a.png",))


def test_several_images_stay_in_their_order(root: Path) -> None:
    write(root, turn("<image><image>Same?", "No", images=("images/b.png", "images/a.png")))
    assert only(read(root)).images == ("images/b.png", "images/a.png")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.jsonl", "train"),
        ("training.jsonl", "train"),
        ("train_v2.json", "train"),
        ("val.jsonl", "validation"),
        ("validation-00001.jsonl", "validation"),
        ("test.jsonl", "validation"),
        ("data.jsonl", None),
        ("values.jsonl", None),
    ],
)
def test_a_files_name_delivers_its_split(root: Path, name: str, split: str | None) -> None:
    write(root, turn("How many?", "Two"), name=name)
    assert only(read(root)).place.split == split


@pytest.mark.parametrize(
    ("task", "answer", "prompt", "truth"),
    [
        (Task.GENERIC, "raw\ntext", "Q", {"text": "raw\ntext"}),
        (Task.FREEFORM, "A cat.", "Q", {"caption": "A cat."}),
        (Task.FREEFORM, "A cat.", "", {"caption": "A cat."}),
        (
            Task.PHRASE_GROUNDING,
            '{"phrase_grounding":{"sentence":"a b","groundings":[{"phrase":"b","grounding":[[1,2,3,4]]}]}}',
            "",
            {"sentence": "a b", "groundings": [{"phrase": "b", "boxes": [[1, 2, 3, 4]]}]},
        ),
    ],
)
def test_each_task_reads_its_answer(root: Path, task: Task, answer: str, prompt: str, truth: dict[str, Any]) -> None:
    write(root, turn(f"<image>{prompt}", answer))
    draft = only(read(root, task))
    assert draft.truth == truth
    assert draft.prompt == (prompt or None)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ([1], "annotation-shape"),
        ({"messages": []}, "annotation-empty"),
        ({"messages": "hello"}, "annotation-shape"),
        ({"messages": ["hello"]}, "annotation-shape"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "annotation-shape"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "annotation-shape"),
        (turn(None, "Two"), "annotation-shape"),
        (turn({"a": 1}, "Two"), "annotation-shape"),
        (turn("<image>", "Two"), "question-empty"),
        (turn("How many?", " "), "answer-empty"),
        (turn("How many?", "Two", images=()), "image-not-named"),
        (turn("How many?", "Two", images=7), "annotation-shape"),
        (turn("How many?", "Two", images=[7]), "image-not-named"),
        (turn("How many?", "Two", images=("gone.png",)), "image-missing"),
        (turn("How many?", "Two", images=("/images/a.png",)), "image-outside"),
        (turn("How many?", "Two", images=("../x.png",)), "image-outside"),
        (turn("How many?", "Two", images=("https://example.com/a.png",)), "image-url"),
        (turn("<image><image>How many?", "Two"), "annotation-shape"),
        (turn("How many?", "Two", videos=["a.mp4"]), "video"),
        (
            {"messages": [*turn("a", "b")["messages"], *turn("c", "d")["messages"]], "images": ["a.png"]},
            "several-turns",
        ),
        ({"messages": turn("a", "b")["messages"][:1], "images": ["a.png"]}, "several-turns"),
    ],
)
def test_a_bad_line_is_set_aside_with_its_reason(root: Path, line: Any, reason: str) -> None:
    write(root, turn("How many?", "Two"), line)
    outcomes = read(root)
    assert len(outcomes) == 2
    aside = outcomes[1]
    assert isinstance(aside, SetAside), aside
    assert (aside.reason, aside.place.line) == (reason, 2), aside.message


def test_text_alone_is_a_sample_of_the_task_generic_and_of_no_other(root: Path) -> None:
    write(root, turn("How many?", "Two", images=()))
    reader = ChatReader(Source.open(root.as_uri()))
    assert only(list(reader.read(Task.GENERIC))).images == ()
    assert any("1 samples have no image" in note for note in reader.notes())
    [aside] = read(root, Task.FREEFORM)
    assert isinstance(aside, SetAside)
    assert aside.reason == "image-not-named"


def test_a_text_that_marks_an_image_without_naming_one_is_set_aside(root: Path) -> None:
    write(root, turn("<image>How many?", "Two", images=()))
    [aside] = read(root, Task.GENERIC)
    assert isinstance(aside, SetAside)
    assert aside.reason == "annotation-shape"


def test_an_answer_that_is_no_grounding_is_set_aside(root: Path) -> None:
    write(root, turn("Where?", "over there"))
    [aside] = read(root, Task.PHRASE_GROUNDING)
    assert isinstance(aside, SetAside)
    assert aside.reason == "answer-unreadable"


def test_system_messages_and_other_files_are_left_out_and_said(root: Path) -> None:
    line = turn("How many?", "Two")
    line["messages"].insert(0, {"role": "system", "content": "Be brief."})
    write(root, line)
    write(root, {"licence": "CC0"}, name="metadata.json")
    reader = ChatReader(Source.open(root.as_uri()))
    assert only(list(reader.read(Task.VQA))).prompt == "How many?"
    notes = reader.notes()
    assert any("1 samples bring a system message" in note for note in notes)
    assert any("metadata.json" in note for note in notes)
