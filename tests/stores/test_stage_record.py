"""What stays on record of a stage's process, in status/ and in run.json."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from airtune.errors import DataError, Problem
from airtune.stores import RunDirectory
from airtune.stores.stage_record import read_stage_record, stage

RUN = {
    "runId": "r",
    "odd": {"kept": [1, 2.50]},
    "spec": {"flow": {"name": "x", "schema": "v1", "tolerations": {}, "settings": {}, "blocks": []}},
}


@pytest.fixture
def run(root_uri: str) -> RunDirectory:
    return RunDirectory.create(root_uri, "run-1", json.dumps(RUN))


def _conditions(run: RunDirectory) -> dict[str, dict[str, object]]:
    return {each["condition"]: each for each in run.read_json("run.json")["status"]["conditions"]}


def test_a_stage_that_is_done_has_its_seconds_and_exit_code_on_record(run: RunDirectory) -> None:
    assert read_stage_record(run, "validate") is None
    with stage(run, "validate"):
        during = read_stage_record(run, "validate")
        time.sleep(0.05)
    after = read_stage_record(run, "validate")
    assert during is not None
    assert after is not None
    assert (during["state"], during["exit_code"], during["try"], during["process"]) == ("running", None, 1, os.getpid())
    assert (after["state"], after["exit_code"], after["problems"]) == ("done", 0, [])
    assert 0.05 <= after["seconds"] < 30
    assert after["started"] < after["finished"]


def test_a_stage_that_fails_says_why_and_counts_its_tries(run: RunDirectory) -> None:
    for _ in range(2):
        with pytest.raises(DataError), stage(run, "validate"):
            raise DataError([Problem("a.jpg", "cannot be read"), Problem("b.jpg", "cannot be read")])
    record = read_stage_record(run, "validate")
    assert record is not None
    assert (record["state"], record["exit_code"], record["try"]) == ("failed", 65, 2)
    assert [problem["where"] for problem in record["problems"]] == ["a.jpg", "b.jpg"]
    finished = _conditions(run)["Finished"]
    assert finished["status"] == "FailedReach"
    assert finished["reason"] == "validate"
    assert "a.jpg: cannot be read" in str(finished["message"])


def test_an_unexpected_error_is_a_defect_and_an_exit_keeps_its_code(run: RunDirectory) -> None:
    with pytest.raises(ZeroDivisionError), stage(run, "train"):
        raise ZeroDivisionError("by zero")
    record = read_stage_record(run, "train")
    assert record is not None
    assert (record["exit_code"], record["message"]) == (70, "ZeroDivisionError: by zero")
    with pytest.raises(SystemExit), stage(run, "train"):
        sys.exit(75)
    record = read_stage_record(run, "train")
    assert record is not None
    assert (record["exit_code"], record["state"]) == (75, "failed")


def test_run_json_tells_how_the_run_goes_and_keeps_everything_else(run: RunDirectory) -> None:
    with stage(run, "validate"):
        assert _conditions(run)["Started"]["status"] == "Reached"
        assert _conditions(run)["Finished"]["status"] == "Waiting"
    with pytest.raises(RuntimeError), stage(run, "publish"):
        raise RuntimeError("no")
    assert _conditions(run)["Finished"]["status"] == "FailedReach"
    with stage(run, "publish"):
        assert _conditions(run)["Finished"]["status"] == "Waiting"
    document = run.read_json("run.json")
    assert {key: document[key] for key in RUN} == RUN
    assert _conditions(run)["Finished"]["status"] == "Reached"
    lines = document["status"]["log"].splitlines()
    assert [line.split(" ", 2)[2].split(" (")[0] for line in lines] == [
        "validate done",
        "publish failed: RuntimeError: no",
        "publish done",
    ]


def test_a_finished_run_is_not_touched_by_a_second_publish(run: RunDirectory) -> None:
    with stage(run, "publish"):
        pass
    before = run.store.stat("run.json")
    with stage(run, "publish"):
        pass
    assert run.store.stat("run.json") == before


def test_a_process_that_was_killed_stays_on_record_as_running(run: RunDirectory) -> None:
    script = f"""
import time
from airtune.stores import RunDirectory
from airtune.stores.stage_record import stage
with stage(RunDirectory.open({run.uri!r}), "train"):
    print("in", flush=True)
    time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "in\n"
    child.send_signal(signal.SIGKILL)
    child.wait(timeout=10)
    child.stdout.close()
    record = read_stage_record(run, "train")
    assert record is not None
    assert (record["state"], record["process"]) == ("running", child.pid)
