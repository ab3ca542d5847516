"""From what a sample states to the texts that are trained."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airtune.datasets.annotations.control_tokens import ControlTokens
from airtune.datasets.annotations.trained_text import trained_text
from airtune.datasets.draft import Reject
from airtune.runspec.answers import build_target, parse_answer
from airtune.runspec.tasks import Task

CONTROLS = ControlTokens()


def grounded(*boxes: list[int], phrase: str = "a car", sentence: str = "a car") -> dict[str, Any]:
    return {"sentence": sentence, "groundings": [{"phrase": phrase, "boxes": list(boxes)}]}


def test_a_box_that_stands_twice_under_its_phrase_is_trained_once() -> None:
    text = trained_text(Task.PHRASE_GROUNDING, None, grounded([1, 2, 3, 4], [5, 6, 7, 8], [1, 2, 3, 4]), CONTROLS)
    assert text.truth == grounded([1, 2, 3, 4], [5, 6, 7, 8])
    assert text.repeated_boxes == 1
    assert text.content == text.truth


def test_a_code_fence_which_readers_drop_is_replaced_and_counted() -> None:
    text = trained_text(Task.VQA, "What?", {"answer": "```py x``` or `y`"}, CONTROLS)
    assert text.truth == {"answer": "'''py x''' or `y`"}
    assert text.replaced == 6


@pytest.mark.parametrize("answer", ["<think>why</think>two", "so <answer>two</answer>"])
def test_an_answer_that_would_be_read_back_as_another_is_refused(answer: str) -> None:
    with pytest.raises(Reject, match="read back") as caught:
        trained_text(Task.VQA, "What?", {"answer": answer}, CONTROLS)
    assert caught.value.reason == "answer-unreadable"


def test_reasoning_is_part_of_the_content_of_a_generic_answer() -> None:
    one, two = (
        trained_text(Task.GENERIC, "What?", {"text": f"<think>{why}</think><answer>two</answer>"}, CONTROLS)
        for why in ("a", "b")
    )
    assert one.truth == two.truth == {"text": "two"}
    assert one.target == "<think>a</think><answer>two</answer>"
    assert one.content != two.content


def test_a_phrase_is_still_part_of_its_sentence_when_both_are_escaped() -> None:
    truth = grounded([1, 2, 3, 4], phrase="a <image> of 'x'", sentence='see a <image> of "x"'.replace('"', "'"))
    text = trained_text(Task.PHRASE_GROUNDING, None, truth, CONTROLS)
    assert text.truth["groundings"][0]["phrase"] == "a <_image> of 'x'"
    assert text.escaped == 2
    assert text.content == truth


@given(
    st.text(max_size=30) | st.text(alphabet='<>|_`"\\aimge/nswthk{}: \n', max_size=30),
    st.sampled_from([Task.VQA, Task.FREEFORM]),
)
def test_whatever_the_answer_is_its_target_says_exactly_the_truth(answer: str, task: Task) -> None:
    key = "answer" if task is Task.VQA else "caption"
    try:
        text = trained_text(task, answer, {key: answer}, CONTROLS)
    except Reject:
        assume(False)
    assert list(text.truth) == [key]
    assert len(text.truth[key]) == len(answer) + text.escaped // 2
    assert parse_answer(task, text.target).parsed == text.truth


@given(st.sampled_from([Task.VQA, Task.FREEFORM]), st.text(max_size=12), st.none() | st.text(max_size=5))
def test_plain_answers_go_a_short_way_to_the_same_text(task: Task, said: str, prompt: str | None) -> None:
    truth = {"answer" if task is Task.VQA else "caption": said}
    assume(said.strip())
    escaped = CONTROLS.escape_all(truth)[0]
    built = build_target(task, escaped)
    try:
        text = trained_text(task, prompt, truth, CONTROLS)
    except Reject:
        assert parse_answer(task, built.text).parsed != escaped
        return
    assert (text.target, text.replaced) == built
    assert text.truth == parse_answer(task, built.text).parsed
    assert text.prompt == (None if prompt is None else CONTROLS.escape(prompt)[0])
