"""Reading a Vi export: what is used, what is set aside and why."""

from __future__ import annotations

import os
import unicodedata
from typing import Any

import pytest
from tests.datasets.conftest import ViFolder, grounding, line_of, vqa

from airtune.datasets.draft import REMEDIES, Draft, Outcome, SetAside
from airtune.datasets.readers.vi import ViReader
from airtune.datasets.sources.source import Source
from airtune.runspec.tasks import Task

BOX = [[0.1, 0.2, 0.5, 0.6]]


def read(folder: ViFolder, task: Task = Task.VQA) -> list[Outcome]:
    return list(ViReader(Source.open(folder.root.as_uri())).read(task))


def only(outcomes: list[Outcome]) -> Draft:
    [outcome] = outcomes
    assert isinstance(outcome, Draft), outcome
    return outcome


def reason(outcomes: list[Outcome]) -> str:
    [outcome] = outcomes
    assert isinstance(outcome, SetAside), outcome
    assert outcome.reason in REMEDIES
    return f"{outcome.reason}: {outcome.message}"


def test_each_question_of_an_image_is_a_sample(folder: ViFolder) -> None:
    folder.sample("training", "a", vqa(("How many?", "Two"), ("  Which colour? ", "red\n")))
    first, second = read(folder)
    assert isinstance(first, Draft)
    assert isinstance(second, Draft)
    assert (first.prompt, first.truth) == ("How many?", {"answer": "Two"})
    assert (second.prompt, second.truth, second.place.index) == ("Which colour?", {"answer": "red"}, 2)
    assert first.images == second.images == ("training/images/a.png",)
    assert (first.place.file, first.place.line, first.place.split) == ("training/annotations/a.jsonl", 1, "train")
    assert first.annotated_size == (64, 48)


@pytest.mark.parametrize("number", ["1", 1, None])
def test_ids_are_taken_as_text_or_integers(folder: ViFolder, number: object) -> None:
    folder.image("training", "a.png")
    folder.annotate("training", "a.json", line_of("a.png", vqa(("What?", "x")), number=number))
    assert only(read(folder)).prompt == "What?"


def test_phrases_keep_their_boxes_in_fractions_until_the_image_is_known(folder: ViFolder) -> None:
    corners = [[0.0, 0.0], [1.0, 0.0], [1.0, 0.5], [0.0, 0.5]]
    folder.sample("validation", "a", grounding("A red car near a tree", ("A red car", BOX), ("a tree", corners)))
    draft = only(read(folder, Task.PHRASE_GROUNDING))
    assert (draft.prompt, draft.units, draft.annotated_size) == (None, "fraction", (64, 48))
    assert draft.place.split == "validation"
    assert draft.truth == {
        "sentence": "A red car near a tree",
        "groundings": [
            {"phrase": "A red car", "boxes": BOX},
            {"phrase": "a tree", "boxes": [[0.0, 0.0, 1.0, 0.5]]},
        ],
    }


@pytest.mark.parametrize(
    ("task", "contents", "prompt", "truth"),
    [
        (Task.FREEFORM, {"type": "Freeform", "text": "A cat."}, None, {"caption": "A cat."}),
        (Task.FREEFORM, {"type": "Freeform", "caption": "A cat."}, None, {"caption": "A cat."}),
        (Task.GENERIC, {"type": "Freeform", "text": "A cat."}, None, {"text": "A cat."}),
        (Task.GENERIC, vqa(("What?", "A cat.")), "What?", {"text": "A cat."}),
        (Task.VQA, vqa(("How many?", 3)), "How many?", {"answer": "3"}),
    ],
)
def test_each_task_takes_its_contents(
    folder: ViFolder, task: Task, contents: dict[str, Any], prompt: str | None, truth: dict[str, Any]
) -> None:
    folder.sample("training", "a", contents)
    draft = only(read(folder, task))
    assert (draft.prompt, draft.truth) == (prompt, truth)


def test_a_dump_leaves_the_split_open(folder: ViFolder) -> None:
    folder.sample("dump", "a", vqa(("What?", "x")))
    assert only(read(folder)).place.split is None


def test_a_dump_beside_a_split_is_left_out_and_said(folder: ViFolder) -> None:
    folder.sample("training", "a", vqa(("What?", "x")))
    folder.sample("dump", "a", vqa(("What?", "x")))
    (folder.root / "training/annotations/notes.txt").write_text("hello")
    assert len(read(folder)) == 1
    notes = ViReader(Source.open(folder.root.as_uri())).notes()
    assert any("dump/ with its 1 annotation files is left out" in note for note in notes)
    assert any("notes.txt" in note for note in notes)


def test_files_are_read_in_the_order_of_their_names_not_of_the_disk(folder: ViFolder) -> None:
    for name in ("c", "a", "b"):
        folder.sample("training", name, vqa(("What?", name)))
    assert [row.place.file[-7:-6] for row in read(folder)] == ["a", "b", "c"]


BAD_LINES: list[tuple[Task, object, str]] = [
    (Task.VQA, '{"id": "1",', "annotation-malformed: malformed JSON at column"),
    (Task.VQA, "null", "annotation-shape: the line is not an object"),
    (Task.VQA, "17", "annotation-shape: the line is not an object"),
    (Task.VQA, {"id": "1", "contents": vqa(("a", "b"))}, "annotation-shape: the key 'asset' is missing"),
    (Task.VQA, {"asset": {"filename": "a.png"}}, "annotation-shape: the key 'contents' is missing"),
    (Task.VQA, line_of("a.png", {"type": "Vqa"}), "annotation-shape: the key 'interactions' is missing"),
    (Task.VQA, line_of("a.png", {"type": "Vqa", "Interactions": []}), "is 'Interactions' meant to be it?"),
    (Task.VQA, line_of("a.png", {"type": "VqaX"}), "annotation-shape: contents.type is"),
    (Task.VQA, line_of("a.png", {"type": ["Vqa"]}), "annotation-shape: contents.type is"),
    (Task.VQA, line_of("a.png", vqa()), "annotation-empty: 'interactions' is empty"),
    (Task.VQA, line_of("a.png", {"type": "Vqa", "interactions": {}}), "annotation-shape: 'interactions' is not a list"),
    (Task.VQA, line_of("a.png", {"type": "Vqa", "interactions": ["x"]}), "annotation-shape: an interaction is not"),
    (Task.VQA, line_of("a.png", vqa(("", "x"))), "question-empty"),
    (Task.VQA, line_of("a.png", vqa((" \n", "x"))), "question-empty"),
    (Task.VQA, line_of("a.png", vqa(("What?", ""))), "answer-empty"),
    (Task.VQA, line_of("a.png", vqa(("What?", None))), "annotation-shape: 'answer' is not a string"),
    (Task.VQA, line_of("a.png", vqa(("What?", True))), "annotation-shape: 'answer' is not a string"),
    (Task.VQA, line_of("a.png", vqa(("What?", 1.5))), "annotation-shape: 'answer' is not a string"),
    (Task.VQA, line_of("b.png", vqa(("What?", "x"))), 'image-missing: there is no file "training/images/b.png"'),
    (Task.VQA, line_of("A.PNG", vqa(("What?", "x"))), 'is "a.png" meant?'),
    (Task.VQA, line_of("../a.png", vqa(("What?", "x"))), "image-outside"),
    (Task.VQA, line_of("/etc/passwd", vqa(("What?", "x"))), "image-outside"),
    (Task.VQA, line_of("https://example.com/a.png", vqa(("What?", "x"))), "image-url"),
    (Task.VQA, line_of("", vqa(("What?", "x"))), "image-not-named"),
    (Task.VQA, line_of(None, vqa(("What?", "x"))), "image-not-named"),
    (Task.VQA, line_of("a.png", vqa(("What?", "x")), size=(0, 48)), "annotation-shape: 'width' is not a positive"),
    (Task.VQA, line_of("a.png", grounding("A car", ("A car", BOX))), "other-task: an annotation of the type Phrase"),
    (Task.FREEFORM, line_of("a.png", {"type": "Freeform", "text": " "}), "answer-empty"),
    (Task.FREEFORM, line_of("a.png", {"type": "Freeform"}), "annotation-shape: the key 'text' is missing"),
    (Task.PHRASE_GROUNDING, line_of("a.png", vqa(("What?", "x"))), "other-task"),
    (Task.PHRASE_GROUNDING, line_of("a.png", grounding("A car")), "annotation-empty: 'groundedPhrases' is empty"),
    (Task.PHRASE_GROUNDING, line_of("a.png", grounding("", ("A car", BOX))), "answer-empty: 'caption' is empty"),
    (Task.PHRASE_GROUNDING, line_of("a.png", grounding("A car", ("a car", BOX))), 'phrase-missing: "a car" does not'),
    (Task.PHRASE_GROUNDING, line_of("a.png", grounding("A car", ("", BOX))), "answer-empty: 'phrase' is empty"),
    (Task.PHRASE_GROUNDING, line_of("a.png", grounding("A car", ("A car", []))), "box-empty"),
    (Task.PHRASE_GROUNDING, line_of("a.png", grounding("A car", ("A car", None))), "box-shape"),
]


@pytest.mark.parametrize(("task", "line", "words"), BAD_LINES)
def test_a_bad_line_is_set_aside_with_its_reason_and_its_number(
    folder: ViFolder, task: Task, line: object, words: str
) -> None:
    folder.image("training", "a.png")
    folder.annotate("training", "a.jsonl", "", line)
    outcomes = read(folder, task)
    assert words in reason(outcomes)
    assert outcomes[0].place.line == 2


def test_a_bad_question_leaves_the_others_of_its_image_alone(folder: ViFolder) -> None:
    folder.sample("training", "a", vqa(("What?", "x"), ("", "y"), ("Who?", "z")))
    assert [type(row).__name__ for row in read(folder)] == ["Draft", "SetAside", "Draft"]


def test_all_questions_of_a_missing_image_are_counted(folder: ViFolder) -> None:
    folder.sample("training", "z", vqa(("What?", "x")))
    folder.annotate("training", "a.jsonl", line_of("gone.png", vqa(("What?", "x"), ("Who?", "z"), ("How?", "z"))))
    aside = [row for row in read(folder) if isinstance(row, SetAside)]
    assert [(row.reason, row.place.index) for row in aside] == [("image-missing", index) for index in (1, 2, 3)]
    assert aside[0].images == ("training/images/gone.png",)


def test_a_video_is_set_aside(folder: ViFolder) -> None:
    folder.image("training", "a.png")
    line = line_of("a.mp4", {"type": "Freeform", "text": "x"})
    line["asset"]["type"] = "Video"
    folder.annotate("training", "a.jsonl", line)
    assert reason(read(folder, Task.FREEFORM)).startswith("video: ")


def test_an_annotation_file_outside_of_the_dataset_is_not_read(folder: ViFolder) -> None:
    folder.sample("training", "a", vqa(("What?", "x")))
    outside = folder.root.parent / "outside.jsonl"
    outside.write_text('{"secret": 1}')
    (folder.root / "training/annotations/b.jsonl").symlink_to(outside)
    _, aside = read(folder)
    assert isinstance(aside, SetAside)
    assert aside.reason == "annotation-outside"
    assert "secret" not in aside.message


def test_what_operating_systems_leave_about_is_no_part_of_a_dataset(folder: ViFolder) -> None:
    folder.sample("training", "a", vqa(("What?", "x")))
    for name in ("._a.jsonl", ".DS_Store"):
        (folder.root / "training/annotations" / name).write_bytes(b"\0\1\2")
    assert only(read(folder)).prompt == "What?"


def test_a_file_name_that_is_not_utf_8_stops_nothing(folder: ViFolder) -> None:
    folder.sample("training", "a", vqa(("What?", "x")))
    with open(os.fsencode(folder.root / "training/images") + b"/\xff\xfe.png", "wb") as file:  # noqa: PTH123
        file.write(b"x")
    assert only(read(folder)).prompt == "What?"


def test_a_name_with_decomposed_letters_is_the_same_name(folder: ViFolder) -> None:
    folder.image("training", unicodedata.normalize("NFD", "café.png"))
    folder.annotate("training", "a.json", line_of(unicodedata.normalize("NFC", "café.png"), vqa(("What?", "x"))))
    assert only(read(folder)).images == (unicodedata.normalize("NFD", "training/images/café.png"),)
