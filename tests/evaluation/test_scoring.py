from __future__ import annotations

from collections.abc import Callable

import pytest

from airtune.answering.scoring import PRIMARY, is_right, score, summarise
from airtune.evaluation.changes import changes
from airtune.evaluation.predictions import Prediction
from airtune.runspec.answers import build_target, parse_answer
from airtune.runspec.tasks import Task

Row = Callable[..., Prediction]

CAT = {"answer": "cat"}
TWO_BOXES = {
    "sentence": "a cat and a dog",
    "groundings": [
        {"phrase": "a cat", "boxes": [[0, 0, 100, 100]]},
        {"phrase": "a dog", "boxes": [[500, 500, 600, 600]]},
    ],
}
ONE_BOX = {"sentence": "a cat", "groundings": [{"phrase": "a cat", "boxes": [[0, 0, 100, 100]]}]}


@pytest.mark.parametrize(
    ("task", "truth"),
    [
        (Task.VQA, CAT),
        (Task.VQA, {"answer": 'a 5" pipe\nof steel\\iron'}),  # the target cannot hold these characters as they are
        (Task.FREEFORM, {"caption": "A cat on a mat."}),
        (Task.GENERIC, {"text": "free text"}),
        (Task.PHRASE_GROUNDING, TWO_BOXES),
    ],
)
def test_the_trained_target_scores_full_marks_against_its_own_truth(task: Task, truth: dict[str, object]) -> None:
    scores = score(task, truth, parse_answer(task, build_target(task, truth).text))
    assert is_right(task, scores)
    assert scores["exact_match"] == 1.0


@pytest.mark.parametrize("task", [task for task in Task if task is not Task.GENERIC])
def test_an_answer_that_cannot_be_read_scores_nothing_and_is_not_dropped(task: Task, row: Row) -> None:
    truth = {
        Task.VQA: CAT,
        Task.PHRASE_GROUNDING: TWO_BOXES,
        Task.FREEFORM: {"caption": "cat"},
        Task.VIDEO_FREEFORM: {"caption": "cat"},
    }[task]
    said = row("1", "tuned", "cat cat cat", truth, task=task)
    assert not is_right(task, said.scores)
    summary = summarise(task, [said])
    assert summary["samples"] == 1
    assert summary["parse_rate"] == 0.0
    assert summary[PRIMARY[task]] == 0.0


def test_a_vqa_summary_is_as_computed_by_hand(row: Row) -> None:
    rows = [
        row("1", "tuned", '{"vqa":{"answer":"cat"}}', CAT, tokens=10),
        row("2", "tuned", '{"vqa":{"answer":"a cat"}}', CAT, tokens=20),
        row("3", "tuned", '{"vqa":{"answer":"ca', CAT, tokens=30, cut_off=True),
        row("4", "tuned", '{"vqa":{"answer":"dog"}}', CAT, tokens=40),
    ]
    assert summarise(Task.VQA, rows) == {
        "samples": 4,
        "exact_match": 0.25,
        "token_f1": pytest.approx((1 + 2 / 3) / 4),
        "parse_rate": 0.75,
        "cut_off_rate": 0.25,
        "mean_tokens": 25.0,
    }


def test_f1_at_half_overlap_is_taken_over_all_boxes_together_and_iou_per_sample(row: Row) -> None:
    said_one = build_target(Task.PHRASE_GROUNDING, ONE_BOX).text
    rows = [
        row("1", "tuned", said_one, TWO_BOXES, task=Task.PHRASE_GROUNDING),  # 1 of 2 boxes, IoU (1 + 0) / 2
        row("2", "tuned", said_one, ONE_BOX, task=Task.PHRASE_GROUNDING),  # 1 of 1
        row("3", "tuned", "nothing", ONE_BOX, task=Task.PHRASE_GROUNDING),  # 0 of 1
    ]
    summary = summarise(Task.PHRASE_GROUNDING, rows)
    assert summary["mean_iou"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert summary["f1_50"] == pytest.approx(2 * 2 / (4 + 2))
    assert summary["parse_rate"] == pytest.approx(2 / 3)


def test_a_summary_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        summarise(Task.VQA, [])


def test_changes_are_counted_against_the_base(row: Row) -> None:
    right, wrong = '{"vqa":{"answer":"cat"}}', '{"vqa":{"answer":"dog"}}'
    pairs = [
        (row(str(number), "tuned", tuned, CAT), row(str(number), "base", base, CAT))
        for number, (tuned, base) in enumerate([(right, wrong), (right, wrong), (wrong, right), (right, right)])
    ]
    assert changes(Task.VQA, pairs) == {"fixed": 2, "broken": 1, "both_right": 1, "both_wrong": 0}
