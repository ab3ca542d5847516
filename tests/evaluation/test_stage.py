"""What the stage says when it cannot run, and when it is told to stop. No model is loaded here but in the last test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from airtune.datasets.fingerprint import fingerprint
from airtune.datasets.record import write_records
from airtune.errors import DataError, SettingsError
from airtune.evaluation.stage import prepare
from airtune.stores import layout
from airtune.stores.base import MissingError

pytestmark = pytest.mark.training  # the adapter of these runs is made with torch


def test_a_run_that_was_not_trained_is_refused(prepare_run: Callable[..., Any]) -> None:
    prepared = prepare_run(pictures=1)
    prepared.run.remove(layout.TRAINING_RESULT)
    with pytest.raises(MissingError, match="has not been trained to its end"):
        prepare(prepared.run)


def test_trained_weights_that_are_gone_are_named(prepare_run: Callable[..., Any]) -> None:
    prepared = prepare_run(pictures=1)
    shutil.rmtree(prepared.run.path(layout.MODEL_ADAPTER))
    with pytest.raises(SettingsError, match=r"model_adapter: holds no weights"):
        prepare(prepared.run)


def test_a_dataset_without_validation_samples_is_refused(prepare_run: Callable[..., Any]) -> None:
    prepared = prepare_run(pictures=1)
    write_records(prepared.run.path(layout.RECORDS), [])
    with pytest.raises(DataError, match="no validation sample"):
        prepare(prepared.run)


def test_another_evaluation_set_than_the_run_was_resolved_on_is_refused(prepare_run: Callable[..., Any]) -> None:
    prepared = prepare_run(pictures=2)
    resolution = json.loads(prepared.run.store.read(layout.RESOLUTION))
    judging = [record.digest for record in prepared.records if record.split == "validation"]
    for digest, passes in ((fingerprint(judging), True), (fingerprint(judging[1:]), False)):
        resolution["facts"] = {"data": {"evaluation_set_digest": digest}}
        prepared.run.write_text(layout.RESOLUTION, json.dumps(resolution))
        if passes:
            assert len(prepare(prepared.run).records) == len(judging)
        else:
            with pytest.raises(DataError, match="the samples of validation on record are not those"):
                prepare(prepared.run)


def test_everything_the_stage_reads_comes_from_the_run_directory(prepare_run: Callable[..., Any]) -> None:
    evaluation = prepare(prepare_run(pictures=2).run)
    assert [(each.model, each.decoding.name) for each in evaluation.passes] == [
        ("base", "greedy"),
        ("tuned", "greedy"),
        ("tuned", "sampled"),
    ]
    keys = {evaluation.key(each, record) for each in evaluation.passes for record in evaluation.records}
    assert len(keys) == 12


def test_wrong_arguments_and_unknown_runs_end_with_64_and_no_traceback(tmp_path: Any) -> None:
    for arguments in ([], [(tmp_path / "runs" / "none").as_uri()], ["not a run"]):
        process = subprocess.run(
            [sys.executable, "-m", "airtune.evaluation", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert process.returncode == 64, process.stderr
        assert "Traceback" not in process.stderr
        assert process.stderr.strip()


def test_told_to_stop_it_ends_with_75_and_keeps_its_answers(prepare_run: Callable[..., Any]) -> None:
    prepared = prepare_run(pictures=40)
    rows = prepared.run.path(layout.PREDICTIONS)
    process = subprocess.Popen(
        [sys.executable, "-m", "airtune.evaluation", prepared.run.uri],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 120
        while not (rows.exists() and rows.stat().st_size) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 75, output
    assert "told to stop; the answers so far are kept" in output
    assert rows.stat().st_size > 0
    record = json.loads(prepared.run.path(layout.stage_record("evaluate")).read_text())
    assert (record["state"], record["exit_code"]) == ("failed", 75)
