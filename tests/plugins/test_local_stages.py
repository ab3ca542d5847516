"""Stages as child processes of a real task: ends, retries, and a task that is told to stop."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

pytestmark = pytest.mark.airflow

HEAD = """
from datetime import timedelta
from airflow.sdk import DAG
from airtune_airflow.operators import failures
from airtune_airflow.operators.stage_pod import StagePodOperator

failures.SOON = timedelta(seconds=0.5)

class Stage(StagePodOperator):
    def __init__(self, *, code, **options):
        super().__init__(stage="resolve", retry_policy=failures.StageRetryPolicy(), **options)
        self.code = code

    def argv(self, *, gpus):
        return ["python", "-u", "-c", self.code, self.run_uri]

"""

# A stage that keeps its record, as every stage of airtune does.
RECORDED = """
import sys
from airtune.launch import exit_code_of
from airtune.stores.run_directory import RunDirectory
from airtune.stores.stage_record import stage
from airtune.errors import PreemptedError, Problem, SettingsError
def work():
    with stage(RunDirectory.open(sys.argv[1]), "resolve"):
        {work}
sys.exit(exit_code_of(work))
"""

REFUSE = RECORDED.format(work='raise SettingsError([Problem("epochs", "too few"), Problem("mode", "unknown")])')

WORK = """
import os, signal, sys, time
def save(*_):
    print("sav" "ed")
    sys.exit(75)
if os.environ["AIRTUNE_TRY"] == "1":
    signal.signal(signal.SIGTERM, save)
    print("work" "ing")
    time.sleep(60)
print("went" " on")
"""

TASKS: dict[str, dict[str, Any]] = {
    "done": {"code": RECORDED.format(work='print("did its work")')},
    "settings": {"code": REFUSE, "retries": 3},
    "killed": {"code": "import os; os.environ['AIRTUNE_TRY'] == '1' and os.kill(os.getpid(), 9)", "retries": 1},
    "missing": {"code": "raise SystemExit(127)", "retries": 1},
    "drained": {"code": WORK, "retries": 2},
}


@pytest.fixture(scope="module")
def ends(module_airflow: Any) -> dict[str, Any]:
    """All of them, run in one process, which gets SIGTERM while ``drained`` works."""
    from airtune.stores.run_directory import RunDirectory

    store = module_airflow.env["AIRTUNE_STORE"]
    runs = {name: RunDirectory.create(store, name, json.dumps({"spec": {}})).uri for name in TASKS}
    lines = [f"    Stage(task_id={name!r}, run_uri={runs[name]!r}, **{options!r})" for name, options in TASKS.items()]
    source = HEAD + "\n".join(['with DAG("stand_in", schedule=None) as dag:', *lines, ""])
    process = module_airflow.start_dag(source)
    before = ""
    for line in process.stdout:
        before += line
        if "working" in line:
            process.send_signal(signal.SIGTERM)
            break
    result: dict[str, Any] = module_airflow.finish(process)
    return {**result["tasks"], "output": before + result["output"]}


def test_a_stage_that_did_its_work_is_a_success_with_its_output_in_the_log(ends: dict[str, Any]) -> None:
    assert ends["done"] == {"state": "success", "tries": 1}
    assert "did its work" in ends["output"]


def test_bad_settings_are_not_tried_again_and_every_problem_is_in_the_tasks_error(ends: dict[str, Any]) -> None:
    assert ends["settings"] == {"state": "failed", "tries": 1}
    assert "resolve: exit code 64: the settings cannot be used\nepochs: too few\nmode: unknown" in ends["output"]


def test_a_stage_that_was_killed_is_tried_again(ends: dict[str, Any]) -> None:
    assert ends["killed"] == {"state": "success", "tries": 2}
    assert "exit code 137: killed from outside" in ends["output"]


def test_a_program_that_is_not_there_is_not_tried_again(ends: dict[str, Any]) -> None:
    assert ends["missing"] == {"state": "failed", "tries": 1}


def test_a_task_that_is_told_to_stop_lets_its_stage_save_and_is_tried_again(ends: dict[str, Any]) -> None:
    assert ends["drained"] == {"state": "success", "tries": 2}
    assert "saved" in ends["output"]
    assert "the task was told to stop; exit code 75" in ends["output"]
    assert "went on" in ends["output"]
