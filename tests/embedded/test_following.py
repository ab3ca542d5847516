"""Where training stands is read from the end of its metrics, whatever state they are in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airtune.embedded.following import Training, newest_metrics
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run that has written nothing yet."""
    return RunDirectory(tmp_path.as_uri(), "r")


def _line(step: int, **more: object) -> str:
    return json.dumps({"step": step, "total_steps": 50, "epoch": step / 10, "loss": 1 / (step + 1), **more}) + "\n"


def test_before_the_first_step_nothing_is_known(run: RunDirectory) -> None:
    assert newest_metrics(run, "", None) == ("", None)


def test_the_last_whole_line_counts(run: RunDirectory) -> None:
    text = "".join(_line(step, eta_seconds=50.0 - step) for step in range(2000))
    run.write_text(layout.TRAINING_METRICS, text + _line(2000)[:30])
    _, found = newest_metrics(run, "", None)
    assert found == Training(1999, 50, 199.9, 1 / 2000, 50.0 - 1999)


def test_a_file_that_has_not_changed_is_not_read_again(run: RunDirectory) -> None:
    run.write_text(layout.TRAINING_METRICS, _line(3))
    version, found = newest_metrics(run, "", None)
    assert newest_metrics(run, version, found) == (version, found)
    run.write_text(layout.TRAINING_METRICS, _line(3) + _line(4))
    assert newest_metrics(run, version, found)[1] == Training(4, 50, 0.4, 0.2, None)


def test_lines_that_are_no_metrics_are_passed_over(run: RunDirectory) -> None:
    before = Training(1, 2, 0.5, 0.1, None)
    run.write_text(layout.TRAINING_METRICS, '{"step": null}\n[]\nnothing\n')
    assert newest_metrics(run, "", before)[1] == before


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, ""), (7.2, ", 7 s to go"), (75, ", 1 min 15 s to go"), (7500, ", 2 h 05 min to go")]
)
def test_a_time_to_go_is_said_as_people_say_it(seconds: float | None, words: str) -> None:
    assert str(Training(5, 10, 1.5, 0.25, seconds)) == f"step 5/10, epoch 1.50, loss 0.2500{words}"
