"""Reading chat JSONL, as TRL, ms-swift and LLaMA-Factory have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airtune.datasets.draft import Draft, Outcome, SetAside
from airtune.datasets.readers.chat_jsonl import ChatReader
from airtune.datasets.sources.source import Source
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


def turns(*pairs: tuple[Any, Any], images: Any = ("images/a.png",), **more: Any) -> dict[str, Any]:
    messages = [
        {"role": role, "content": said}
        for pair in pairs
        for role, said in zip(("user", "assistant"), pair, strict=True)
    ]
    return {"messages": messages, "images": list(images), **more}


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
        {"prompt": "How many?", "completion": "Two", "image": "a.png"},
        {
            "prompt": [{"role": "user", "content": [PART_IMAGE, PART_TEXT]}],
            "completion": [{"role": "assistant", "content": "Two"}],
            "images": ["images/a.png"],
        },
        {"query": "<image>How many?", "response": "Two", "images": ["images/a.png"]},
        {"instruction": "<image>", "input": "How many?", "output": "Two", "images": ["images/a.png"]},
        {"texts": [{"user": "How many?", "assistant": "Two", "source": "x"}], "images": ["images/a.png"]},
        {"question": "How many?", "answer": "Two", "image": "a.png"},
        {"question": "How many?", "answer": "Two", "image_path": "a.png", "images": None},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "images/a.png"}}, PART_TEXT],
                },
                {"role": "assistant", "content": "Two"},
            ]
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


def test_paths_that_lead_into_the_dataset_are_followed_however_they_are_written(root: Path) -> None:
    names = [str(root / "images/a.png"), "./images/a.png", "images\\a.png", ".\\images\\a.png", "images//a.png"]
    write(root, *(turn("How many?", "Two", images=(name,)) for name in names))
    assert [one.images for one in read(root)] == [("images/a.png",)] * len(names)
    write(root, turn("How many?", "Two", images=(f"{root}-other/images/a.png",)))
    [aside] = read(root)
    assert isinstance(aside, SetAside)
    assert aside.reason == "image-outside"


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
        ({"messages": turn("a", "b")["messages"][:1], "images": ["a.png"]}, "several-turns"),
        ({"messages": turn("a", "b")["messages"][::-1], "images": ["a.png"]}, "several-turns"),
        ({"prompt": "Which?", "chosen": "a", "rejected": "b", "image": "a.png"}, "annotation-shape"),
        ({"query": "a", "response": "b", "history": ["c"], "image": "a.png"}, "annotation-shape"),
        ({"texts": ["a"], "image": "a.png"}, "annotation-shape"),
        (turn("How many?", "Two", images=[{"bytes": "aGVsbG8="}]), "image-not-named"),
        (turn([{"type": "image_url", "image_url": {"url": "https://x.org/a.png"}}], "b", None), "image-url"),
    ],
)
def test_a_bad_line_is_set_aside_with_its_reason(root: Path, line: Any, reason: str) -> None:
    write(root, turn("How many?", "Two"), line)
    outcomes = read(root)
    assert len(outcomes) == 2
    aside = outcomes[1]
    assert isinstance(aside, SetAside), aside
    assert (aside.reason, aside.place.line) == (reason, 2), aside.message


def test_several_questions_about_the_same_image_are_samples_of_their_own(root: Path) -> None:
    lines = [
        turns(("<image>How many?", "Two"), ("Which?", " "), ("Where?", "Here")),
        {"query": "c", "response": "d", "history": [["a", "b"]], "image": "a.png"},
        turns(("a", "b"), ("c", "d"), images=("gone.png",)),
    ]
    write(root, *lines)
    reader = ChatReader(Source.open(root.as_uri()))
    first, second, third, *rest = reader.read(Task.VQA)
    assert isinstance(first, Draft)
    assert isinstance(second, SetAside)
    assert isinstance(third, Draft)
    assert (first.prompt, third.prompt) == ("How many?", "Where?")
    assert first.images == third.images == ("images/a.png",)
    assert [one.place.index for one in (first, second, third)] == [1, 2, 3]
    assert second.reason == "answer-empty"
    assert [one.prompt for one in rest[:2] if isinstance(one, Draft)] == ["a", "c"]
    assert [(one.place.line, one.place.index) for one in rest[2:]] == [(3, 1), (3, 2)]
    assert all(isinstance(one, SetAside) and one.reason == "image-missing" for one in rest[2:])
    assert any("2 conversations of several turns are read as 5 questions" in note for note in reader.notes())


def test_a_later_turn_that_shows_another_image_cannot_stand_on_its_own(root: Path) -> None:
    write(root, turns(("<image>a", "b"), ("<image>c", "d"), images=("a.png", "b.png")))
    outcomes = read(root)
    assert [one.reason for one in outcomes if isinstance(one, SetAside)] == ["several-turns"] * 2


@pytest.mark.parametrize("task", [Task.FREEFORM, Task.GENERIC, Task.PHRASE_GROUNDING])
def test_a_conversation_is_not_torn_apart_where_a_turn_rests_on_the_ones_before(root: Path, task: Task) -> None:
    write(root, turns(("<image>How many?", "Two"), ("And now?", "Three")))
    [aside] = read(root, task)
    assert isinstance(aside, SetAside)
    assert aside.reason == "several-turns"


def test_a_file_may_be_one_array_of_conversations(root: Path) -> None:
    lines = [turn("How many?", "Two"), turn("Which?", "This")]
    (root / "train.json").write_text(json.dumps(lines, indent=1))
    assert ChatReader.recognises(Source.open(root.as_uri()))
    assert [one.prompt for one in read(root) if isinstance(one, Draft)] == ["How many?", "Which?"]


def test_a_test_split_beside_a_validation_split_is_left_out_and_said(root: Path) -> None:
    for name in ("train", "val", "test"):
        write(root, turn(name, "x"), name=f"{name}.jsonl")
    reader = ChatReader(Source.open(root.as_uri()))
    assert [(one.prompt, one.place.split) for one in reader.read(Task.VQA) if isinstance(one, Draft)] == [
        ("train", "train"),
        ("val", "validation"),
    ]
    assert any("test.jsonl" in note for note in reader.notes())


def test_an_index_that_speaks_of_conversations_holds_none(root: Path) -> None:
    index = {"mine": {"file_name": "data.json", "columns": {"messages": "conversations", "images": "images"}}}
    (root / "dataset_info.json").write_text(json.dumps(index))
    assert not ChatReader.recognises(Source.open(root.as_uri()))
    write(root, turn("How many?", "Two"))
    assert ChatReader.recognises(Source.open(root.as_uri()))
    assert only(read(root)).place.file == "data.jsonl"


def test_a_file_that_is_broken_from_its_first_line_on_is_still_recognised(root: Path) -> None:
    (root / "data.jsonl").write_text('{"messages": [{"role": "user", "content": "a"\n')
    assert ChatReader.recognises(Source.open(root.as_uri()))
    [aside] = read(root)
    assert isinstance(aside, SetAside)
    assert aside.reason == "annotation-malformed"


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
