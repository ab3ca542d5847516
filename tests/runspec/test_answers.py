"""The assistant's answers: written and read back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airtune.errors import DataError
from airtune.runspec.answers import build_target, clean, parse_answer, truth_problem
from airtune.runspec.tasks import Task

GROUNDING: dict[str, Any] = {
    "sentence": "A red car near a tree",
    "groundings": [{"phrase": "red car", "boxes": [[0, 1, 1024, 1023], [5, 5, 6, 6]]}],
}


@pytest.mark.parametrize(
    ("task", "truth", "target"),
    [
        (Task.VQA, {"answer": "Two"}, '{"vqa":{"answer":"Two"}}'),
        (Task.FREEFORM, {"caption": "ein Bär"}, '{"freeform":{"caption":"ein Bär"}}'),
        (Task.VIDEO_FREEFORM, {"caption": "x"}, '{"freeform":{"caption":"x"}}'),
        (Task.GENERIC, {"text": 'say "hi"\n'}, 'say "hi"\n'),
        (
            Task.PHRASE_GROUNDING,
            GROUNDING,
            (
                '{"phrase_grounding":{"sentence":"A red car near a tree","groundings":[{"phrase":"red car",'
                '"grounding":[[0,1,1024,1023],[5,5,6,6]]}]}}'
            ),
        ),
    ],
)
def test_a_target_is_minified_json_on_one_line(task: Task, truth: dict[str, Any], target: str) -> None:
    assert build_target(task, truth) == (target, 0)
    assert parse_answer(task, target).parsed == (truth if task is not Task.GENERIC else {"text": 'say "hi"'})


def test_what_constrained_decoding_cannot_write_is_replaced_and_counted() -> None:
    text, replaced = build_target(Task.VQA, {"answer": 'a "b" \\ c\nd\te\x00\ud800'})
    assert text == '{"vqa":{"answer":"a \'b\' / c d e \ufffd"}}'
    assert replaced == 7
    assert "\\" not in text


def test_a_phrase_stays_a_part_of_its_sentence_after_replacing() -> None:
    truth = {"sentence": 'the "big"\ncar', "groundings": [{"phrase": '"big"\ncar', "boxes": [[1, 1, 2, 2]]}]}
    text, replaced = build_target(Task.PHRASE_GROUNDING, truth)
    assert replaced == 3
    assert parse_answer(Task.PHRASE_GROUNDING, text).problem is None


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ('{"vqa":{"answer":"1"}}', "1"),
        ('  {"vqa": {"answer": "1"}}\n', "1"),
        ('```json\n{"vqa":{"answer":"1"}}\n```', "1"),
        ('<think>{"vqa":{"answer":"2"}}</think>{"vqa":{"answer":"1"}}', "1"),
        ('<think>so</think><answer>{"vqa":{"answer":"1"}}</answer> {"vqa":{"answer":"3"}}', "1"),
        ('<answer>{"vqa":{"answer":"1"}}', "1"),
        ('Sure: {"vqa":{"answer":"1"}} and more', "1"),
        ('{"vqa":{"answer":"1"},"confidence":0.5}', "1"),
    ],
)
def test_an_answer_is_found_in_what_stands_around_it(said: str, answer: str) -> None:
    assert parse_answer(Task.VQA, said).parsed == {"answer": answer}


@pytest.mark.parametrize(
    ("task", "said", "problem"),
    [
        (Task.VQA, "", "there is no JSON object"),
        (Task.VQA, "two", "there is no JSON object"),
        (Task.VQA, '<think>{"vqa":{"answer":"2"}}', "there is no JSON object"),
        (Task.VQA, '{"vqa":{"answer":"tw', "breaks off or is malformed"),
        (Task.VQA, '{"answer":"two"}', "no object 'vqa'"),
        (Task.VQA, '{"vqa":{"answer":2}}', "not a string"),
        (Task.VQA, '{"vqa":{"answer":" "}}', "empty"),
        (Task.VQA, '{"vqa":{"answer":NaN}}', "a number"),
        (Task.VQA, '{"a":' * 100_000, "nesting"),
        (Task.FREEFORM, '{"freeform":"x"}', "no object 'freeform'"),
        (Task.GENERIC, "  ", "empty"),
        (Task.PHRASE_GROUNDING, '{"phrase_grounding":{"sentence":"a"}}', "'groundings' is missing"),
    ],
)
def test_an_answer_that_breaks_the_rules_is_a_problem_not_an_exception(task: Task, said: str, problem: str) -> None:
    answer = parse_answer(task, said)
    assert answer.parsed is None
    assert answer.problem is not None
    assert problem in answer.problem


@pytest.mark.parametrize(
    ("grounding", "problem"),
    [
        ({"phrase": "blue car", "boxes": [[1, 1, 2, 2]]}, "not part of the sentence"),
        ({"phrase": "", "boxes": [[1, 1, 2, 2]]}, "empty"),
        ({"phrase": "car", "boxes": []}, "no box"),
        ({"phrase": "car", "boxes": [[1, 1, 2]]}, "four numbers"),
        ({"phrase": "car", "boxes": [[1, 1, 2, 2.0]]}, "integers"),
        ({"phrase": "car", "boxes": [[True, 1, 2, 2]]}, "integers"),
        ({"phrase": "car", "boxes": [[1, 1, 2, 1025]]}, "range 0 to 1024"),
        ({"phrase": "car", "boxes": [[-1, 1, 2, 2]]}, "range 0 to 1024"),
        ({"phrase": "car", "boxes": [[2, 1, 2, 2]]}, "xmin < xmax"),
        ({"phrase": "car", "boxes": [[1, 3, 2, 2]]}, "ymin < ymax"),
        ("car", "not an object"),
    ],
)
def test_a_grounding_that_breaks_a_rule_is_named(grounding: Any, problem: str) -> None:
    truth = {"sentence": "a red car", "groundings": [grounding]}
    assert problem in str(truth_problem(Task.PHRASE_GROUNDING, truth))
    with pytest.raises(DataError):
        build_target(Task.PHRASE_GROUNDING, truth)


@given(st.text())
def test_cleaned_text_needs_no_escape_in_json_and_keeps_its_length(text: str) -> None:
    cleaned, replaced = clean(text)
    assert json.dumps(cleaned, ensure_ascii=False) == f'"{cleaned}"'
    assert len(cleaned) == len(text)
    assert replaced == sum(one != other for one, other in zip(text, cleaned, strict=True))


@given(st.text(min_size=1).filter(lambda text: clean(text)[0].strip()), st.sampled_from([Task.VQA, Task.FREEFORM]))
def test_every_answer_that_is_trained_is_read_back(text: str, task: Task) -> None:
    key = "answer" if task is Task.VQA else "caption"
    target, _ = build_target(task, {key: text}) if text.strip() else build_target(task, {key: clean(text)[0]})
    assert "\n" not in target
    cleaned = clean(text)[0]
    if not any(mark in cleaned for mark in ("<think>", "<answer>", "</answer>", "```")):
        assert parse_answer(task, target).parsed == {key: cleaned}


@settings(max_examples=200)
@given(st.text(alphabet='{}[]":,<>/thinkanswervqa0123 \n`\\'), st.sampled_from(list(Task)))
def test_whatever_a_model_says_is_either_read_or_a_problem(text: str, task: Task) -> None:
    answer = parse_answer(task, text)
    assert (answer.parsed is None) != (answer.problem is None)
