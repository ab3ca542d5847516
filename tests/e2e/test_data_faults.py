"""Data that is broken, or that changes under a run: training never starts on less than it was given."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from machine import Machine

from airtune.embedded.airflow import DAG_ID
from airtune.embedded.following import ending
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]


def test_more_damaged_pictures_than_allowed_end_the_run_before_training(
    platform: Machine, run_json: dict[str, Any], damaged_dataset: Callable[[int], Path], store: None, tmp_path: Path
) -> None:
    data = damaged_dataset(4)  # of 32: twelve in a hundred
    (tmp_path / "run.json").write_text(json.dumps(run_json))
    done = platform.airtune(
        "submit", str(tmp_path / "run.json"), "--set", f"dataset={data.as_uri()}", "--wait", "--json"
    )
    told = json.loads(done.stdout)
    assert done.returncode == 65, told
    assert told["failed_task"] == "validate_dataset"
    assert told["tasks"]["finetune"]["state"] == "upstream_failed"
    assert any("8 of 64 samples" in problem["message"] for problem in told["problems"]), told["problems"]
    run = RunDirectory.open(told["run_uri"])
    aside = [json.loads(line) for line in run.store.read(layout.SET_ASIDE).splitlines()]
    cut = sorted(data.glob("training/images/*"))[:4]
    assert {image for row in aside for image in row["images"]} == {f"training/images/{path.name}" for path in cut}
    assert not run.exists(layout.RECORDS)


def test_pictures_that_are_deleted_after_validation_end_the_training_with_their_names(
    platform: Machine, run_json: dict[str, Any], small_dataset: Path, store: None, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(small_dataset, data)
    (tmp_path / "run.json").write_text(json.dumps(run_json))
    done = platform.airtune("submit", str(tmp_path / "run.json"), "--set", f"dataset={data.as_uri()}", "--json")
    assert done.returncode == 0, done.stderr
    run_id = json.loads(done.stdout)["dag_run_id"]
    run = RunDirectory(platform.state().store["AIRTUNE_STORE"], run_id)
    until = time.monotonic() + 120
    while not run.exists(layout.RECORDS):
        assert time.monotonic() < until, "the dataset is not validated"
        time.sleep(0.1)
    gone = sorted(data.glob("training/images/*"))[:3]
    for path in gone:
        path.unlink()
    with platform.client() as airflow:
        while not (state := airflow.dag_run(DAG_ID, run_id)).ended:
            assert time.monotonic() < until + 120, "the run does not end"
            time.sleep(0.5)
        end = ending(airflow, DAG_ID, state)
    assert end.dag_run.failed_task == "finetune"
    assert end.exit_code == 65
    named = " ".join(str(problem["where"]) for problem in end.problems)
    for path in gone:
        assert path.name in named
    assert not run.exists(layout.TRAINING_METRICS)
