from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airtune.evaluation.predictions import Prediction, PredictionFile, read_predictions, row_key

Row = Callable[..., Prediction]


@pytest.fixture
def rows(row: Row) -> list[Prediction]:
    return [row(f"s{number}", "tuned", '{"vqa":{"answer":"cat"}}', {"answer": "cat"}) for number in range(4)]


def test_what_is_added_is_on_disk_at_once(tmp_path: Path, rows: list[Prediction]) -> None:
    file = PredictionFile(tmp_path / "p.jsonl", [row.key for row in rows])
    file.add(rows[:2])
    assert read_predictions(tmp_path / "p.jsonl") == rows[:2]
    assert file.missing == 2
    assert not file.lacks(rows[0].key)
    assert file.lacks(rows[2].key)


def test_rows_that_are_there_are_kept_and_end_in_the_wanted_order(tmp_path: Path, rows: list[Prediction]) -> None:
    keys = [row.key for row in rows]
    PredictionFile(tmp_path / "p.jsonl", keys).add([rows[3], rows[1]])
    again = PredictionFile(tmp_path / "p.jsonl", keys)
    assert again.missing == 2
    again.add([rows[0], rows[2], dataclasses.replace(rows[1], text="another")])
    assert again.finish() == rows
    assert read_predictions(tmp_path / "p.jsonl") == rows


def test_half_a_line_of_a_killed_process_is_passed_over_and_removed(tmp_path: Path, rows: list[Prediction]) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(rows[0].to_json() + "\n" + rows[1].to_json()[:40])
    file = PredictionFile(path, [row.key for row in rows])
    assert file.missing == 3
    file.add(rows[1:])
    assert file.finish() == rows


def test_rows_of_another_model_or_sampling_are_dropped(tmp_path: Path, rows: list[Prediction]) -> None:
    path = tmp_path / "p.jsonl"
    PredictionFile(path, [row.key for row in rows]).add(rows)
    fewer = PredictionFile(path, [rows[0].key])
    assert fewer.finish() == rows[:1]
    assert len(path.read_text().splitlines()) == 1


def test_a_file_with_missing_answers_cannot_be_finished(tmp_path: Path, rows: list[Prediction]) -> None:
    with pytest.raises(ValueError, match="4 answers are missing"):
        PredictionFile(tmp_path / "p.jsonl", [row.key for row in rows]).finish()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(), problem=st.none() | st.text())
def test_any_text_survives_the_file(tmp_path: Path, row: Row, text: str, problem: str | None) -> None:
    original = dataclasses.replace(row("s", "base", "x", {"answer": "cat"}), text=text, problem=problem)
    path = tmp_path / "p.jsonl"
    path.unlink(missing_ok=True)
    PredictionFile(path, [original.key]).add([original])
    assert read_predictions(path) == [original]


def test_half_a_surrogate_pair_in_a_prompt_does_not_stop_the_evaluation(tmp_path: Path, row: Row) -> None:
    broken = row("s", "base", "x", {"answer": "cat"}, prompt="a\ud800b")
    PredictionFile(tmp_path / "p.jsonl", [broken.key]).add([broken])
    assert read_predictions(tmp_path / "p.jsonl")[0].prompt == "a?b"


def test_a_key_changes_with_everything_that_an_answer_depends_on() -> None:
    same = ("sample", "digest", "weights", {"system_prompt": "a", "decoding": {"seed": 0}})
    changed = [
        ("other", *same[1:]),
        (same[0], "other", *same[2:]),
        (*same[:2], "other", same[3]),
        (*same[:3], {"system_prompt": "b", "decoding": {"seed": 0}}),
        (*same[:3], {"system_prompt": "a", "decoding": {"seed": 1}}),
    ]
    assert row_key(*same) == row_key(*same)
    assert len({row_key(*each) for each in (same, *changed)}) == 6  # type: ignore[arg-type]


def test_a_row_is_one_line_of_plain_json(rows: list[Prediction]) -> None:
    line = dataclasses.replace(rows[0], text="two\nlines\u2028three").to_json()
    assert "\n" not in line
    assert json.loads(line)["text"] == "two\nlines\u2028three"
