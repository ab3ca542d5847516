"""Whole runs through a real Airflow: a run.json as the platform writes it, and a trainer that is killed."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from machine import TINY, Machine

from airtune.embedded.airflow import DAG_ID
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(400)]


def test_a_run_json_of_the_platform_runs_to_the_end_with_a_damaged_picture_set_aside(
    platform: Machine, damaged_dataset: Callable[[int], Path], store: None, tmp_path: Path
) -> None:
    data = damaged_dataset(1)  # of 32: three in a hundred
    settings: dict[str, Any] = {
        "architecture": {"name": "qwen3vl", "size": "2B"},
        "trainingMode": {"type": "LoRA"},
        "quantization": {"enabled": True, "type": "NF4"},
        "compute": {"precisionType": "BFloat16"},
        "hyperparameters": {"epochs": 2, "learningRate": 0.0001, "batchSize": 4, "gradientAccumulation": 1},
        "evaluation": {"maxNewTokens": 16, "topK": 50, "topP": 0.95, "temperature": 1.0, "repetitionPenalty": 1.05},
    }
    blocks = [
        {"block": "dataset", "settings": {"projectKind": "vqa", "datasetId": "d", "splitRatio": 0.2}, "style": {}},
        {"block": "model", "settings": settings, "style": {}},
    ]
    flow = {"name": "Platform", "schema": "v1", "tolerations": {}, "settings": {}, "blocks": blocks}
    document = {"kind": "Run", "runId": "r", "workspaceId": "w", "spec": {"flow": flow, "killedAt": None}, "etag": "1"}
    (tmp_path / "run.json").write_text(json.dumps(document))
    where = ("--set", f"dataset={data.as_uri()}", "--set", f"base-model={TINY.as_uri()}")
    done = platform.airtune("submit", str(tmp_path / "run.json"), *where, "--wait", "--json", timeout=380)
    told = json.loads(done.stdout)
    assert done.returncode == 0, told
    states = {name: task["state"] for name, task in told["tasks"].items()}
    assert states.pop("inspect_images") == "skipped"
    assert set(states.values()) == {"success"}
    assert told["run_uri"].startswith("s3://airtune/runs/Platform-")
    run = RunDirectory.open(told["run_uri"])
    facts = run.read_json(layout.FACTS)
    assert (facts["samples_found"], facts["samples"], facts["set_aside"]) == (64, 62, 2)
    aside = [json.loads(line) for line in run.store.read(layout.SET_ASIDE).splitlines()]
    assert {row["reason"] for row in aside} == {"image-truncated"}
    page = run.store.read(layout.VALIDATION_REPORT).decode()
    assert aside[0]["images"][0] in page


def test_a_trainer_killed_between_checkpoints_is_resumed_by_the_retry(
    platform: Machine, run_json: dict[str, Any], store: None, tmp_path: Path
) -> None:
    steps, every = 24, 5
    (tmp_path / "run.json").write_text(json.dumps(run_json))
    asked = (f"epochs={steps // 6}", "batch-size=8", f"checkpoint-every-steps={every}")
    done = platform.airtune(
        "submit", str(tmp_path / "run.json"), "--json", *(part for each in asked for part in ("--set", each))
    )
    assert done.returncode == 0, done.stderr
    run_id = json.loads(done.stdout)["dag_run_id"]
    run = RunDirectory(platform.state().store["AIRTUNE_STORE"], run_id)

    killed_at = _kill_trainer(run, after_step=every + 2)
    result = _wait(lambda: run.read_json(layout.TRAINING_RESULT) if run.exists(layout.TRAINING_RESULT) else None, 200)

    assert result["steps"] == steps
    assert 0 < result["resumed_from"] <= killed_at
    logged = [json.loads(line)["step"] for line in run.store.read(layout.TRAINING_METRICS).splitlines()]
    assert logged == sorted(set(logged)), "every step is logged once"
    assert logged[-1] == steps
    with platform.client() as airflow:
        finetune = next(task for task in airflow.dag_run(DAG_ID, run_id).tasks if task.name == "finetune")
        assert finetune.tries == 2
        airflow.fail(DAG_ID, run_id)  # nothing more is asked of it


def _kill_trainer(run: RunDirectory, *, after_step: int) -> int:
    """Kills the trainer with -9 once it has passed a step; returns the last step that it had logged."""

    def trainer() -> psutil.Process | None:
        for process in psutil.process_iter():
            try:
                if process.cmdline()[1:4] == ["-m", "airtune.training", run.uri]:
                    return process
            except psutil.Error:
                continue
        return None

    found = _wait(trainer, 120)
    work = Path(found.environ()["AIRTUNE_HOME"]) / "work"
    # Its own workspace is read, which is ahead of the store.
    metrics = _wait(lambda: next(work.glob(f"{run.run_id}-*/{layout.TRAINING_METRICS}"), None), 120)

    def step() -> int:
        lines = metrics.read_text().splitlines()
        return int(json.loads(lines[-1])["step"]) if lines and lines[-1].endswith("}") else 0

    _wait(lambda: step() >= after_step, 120)
    found.send_signal(signal.SIGKILL)
    found.wait(30) if found.is_running() else None
    return step()


def _wait(what: Any, seconds: float) -> Any:
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
    return found
