"""Bad input, once through the command line and once through REST: none of it reaches training."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from machine import Machine

from airtune.embedded import lifecycle, seaweedfs
from airtune.embedded.airflow import ADMIN, DAG_ID
from airtune.embedded.client import ENDED
from airtune.embedded.processes import MARKER
from airtune.embedded.state import StateFile

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]

Change = Callable[[dict[str, Any]], Any]


def _model(run: dict[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = run["spec"]["flow"]["blocks"][1]["settings"]
    return settings


def _source(run: dict[str, Any], uri: str) -> None:
    run["spec"]["flow"]["blocks"][0]["settings"]["airtune"]["source"] = uri


def _without_model(run: dict[str, Any]) -> None:
    del run["spec"]["flow"]["blocks"][1]


def _epochs_0(run: dict[str, Any]) -> None:
    _model(run)["hyperparameters"]["epochs"] = 0


def _fast(run: dict[str, Any]) -> None:
    _model(run)["hyperparameters"]["learningRate"] = "fast"


def _sft_in_4_bit(run: dict[str, Any]) -> None:
    _model(run)["trainingMode"]["type"] = "SFT"


def _lora_nvila(run: dict[str, Any]) -> None:
    _model(run)["architecture"] = {"name": "nvila", "size": "2B"}


def _two_spellings(run: dict[str, Any]) -> None:
    _model(run)["evaluation"]["max_new_tokens"] = 65


WRONG: dict[str, tuple[Change, str]] = {
    "a missing block": (_without_model, "model"),
    "epochs 0": (_epochs_0, "spec.flow.blocks[1].settings.hyperparameters.epochs"),
    "a learning rate that is no number": (_fast, "spec.flow.blocks[1].settings.hyperparameters.learningRate"),
    "4 bit with SFT": (_sft_in_4_bit, "spec.flow.blocks[1].settings.quantization"),
    "LoRA where the catalog forbids it": (_lora_nvila, "spec.flow.blocks[1].settings.trainingMode"),
    "two spellings that disagree": (_two_spellings, "spec.flow.blocks[1].settings.evaluation"),
}
"""What is wrong -> how to make it so, and the beginning of the JSON path that must be named."""


@pytest.fixture(scope="module")
def unreadable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset in which no image can be read."""
    from airtune.datasets.drawn.demo import write_demo_dataset

    folder = tmp_path_factory.mktemp("unreadable")
    write_demo_dataset(folder, train=24, validation=8)
    for image in folder.rglob("images/*"):
        image.write_bytes(b"no picture")
    return folder


def _write(folder: Path, run: dict[str, Any]) -> str:
    path = folder / "run.json"
    path.write_text(json.dumps(run))
    return str(path)


# Through the command line


@pytest.mark.parametrize("what", WRONG)
def test_the_command_line_refuses(what: str, run_json: dict[str, Any], platform: Machine, tmp_path: Path) -> None:
    change, where = WRONG[what]
    change(run_json)
    done = platform.airtune("submit", _write(tmp_path, run_json), "--wait", "--json")
    assert done.returncode == 64
    problems = json.loads(done.stdout)["problems"]
    assert any(problem["where"].startswith(where) or where in problem["message"] for problem in problems), problems


def test_the_command_line_refuses_what_is_not_json(platform: Machine, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"spec": ')
    done = platform.airtune("submit", str(tmp_path / "run.json"), "--wait")
    assert done.returncode == 64
    assert "is not JSON" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("uri", "words"),
    [("file:///nowhere/at/all", "does not exist"), ("s3://not-a-bucket-here/data", "does not exist")],
    ids=["a dataset that does not exist", "a bucket that is not there"],
)
def test_a_run_ends_before_validation(
    uri: str, words: str, run_json: dict[str, Any], platform: Machine, tmp_path: Path
) -> None:
    done = platform.airtune("submit", _write(tmp_path, run_json), "--set", f"dataset={uri}", "--wait", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 64, told
    assert told["failed_task"] == "load_run"
    assert any(words in problem["message"] for problem in told["problems"]), told
    assert told["tasks"]["finetune"]["state"] == "upstream_failed"


def test_a_run_ends_at_a_dataset_without_a_readable_image(
    unreadable: Path, run_json: dict[str, Any], platform: Machine, tmp_path: Path
) -> None:
    file = _write(tmp_path, run_json)
    done = platform.airtune("submit", file, "--set", f"dataset={unreadable}", "--wait", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 65, told
    assert told["failed_task"] == "validate_dataset"
    assert told["problems"]
    assert told["tasks"]["finetune"]["state"] == "upstream_failed"


def test_a_stage_refuses_a_wrong_s3_secret(platform: Machine) -> None:
    given = {**platform.state().store, "AWS_SECRET_ACCESS_KEY": "not-the-secret"}
    done = platform.airtune("validate", "s3://airtune/runs/any", **given)
    assert done.returncode == 77
    assert given["AWS_ENDPOINT_URL_S3"] in done.stderr
    assert "not-the-secret" not in done.stdout + done.stderr


# Through REST


class Rest:
    """Airflow's REST API as any client sees it, without anything of airtune's."""

    def __init__(self, machine: Machine) -> None:
        password = lifecycle.secrets(machine.home).admin_password
        self._http = httpx.Client(base_url=machine.state().airflow_url, timeout=60, trust_env=False)
        token = self._http.post("/auth/token", json={"username": ADMIN, "password": password}).json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def trigger(self, run: object) -> httpx.Response:
        """Asks for a DAG run; again when Airflow's SQLite was locked by a task that wrote at the same moment."""
        for _ in range(5):
            body = {"logical_date": None, "conf": {"run": run}}
            answer = self._http.post(f"/api/v2/dags/{DAG_ID}/dagRuns", json=body)
            if answer.status_code != httpx.codes.INTERNAL_SERVER_ERROR or "Database error" not in answer.text:
                break
            time.sleep(1)
        return answer

    def ended(self, run_id: str) -> dict[str, str | None]:
        """Waits for the end of a DAG run; returns the state of each task."""
        until = time.monotonic() + 120
        while self._http.get(f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}").json()["state"] not in ENDED:
            assert time.monotonic() < until, "the run does not end"
            time.sleep(0.5)
        found = self._http.get(f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances").json()["task_instances"]
        return {task["task_id"]: task["state"] for task in found}

    def log(self, run_id: str, task: str) -> str:
        """What a task has said at its first try."""
        path = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task}/logs/1"
        return str(self._http.get(path).json()["content"])

    def runs(self) -> int:
        """How many DAG runs there are."""
        return int(self._http.get(f"/api/v2/dags/{DAG_ID}/dagRuns").json()["total_entries"])


@pytest.fixture(scope="module")
def rest(platform: Machine) -> Rest:
    """Airflow's REST API."""
    return Rest(platform)


@pytest.mark.parametrize("what", ["a missing block", "epochs 0", "a learning rate that is no number"])
def test_rest_refuses_what_the_schema_can_tell_and_makes_no_run(
    what: str, run_json: dict[str, Any], rest: Rest
) -> None:
    WRONG[what][0](run_json)
    before = rest.runs()
    assert rest.trigger(run_json).status_code == 400
    assert rest.runs() == before


def test_rest_refuses_a_run_that_is_a_text_and_no_uri(rest: Rest) -> None:
    assert rest.trigger('{"spec": ').status_code == 400


@pytest.fixture(scope="module")
def refused(
    rest: Rest, unreadable: Path, small_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[str, dict[str, str | None]]]:
    """DAG runs that were asked for together: what is wrong -> the run's id and the state of its tasks."""
    from machine import TINY

    def good() -> dict[str, Any]:
        path = Path(__file__).parents[2] / "include" / "configs" / "runs" / "demo.json"
        run: dict[str, Any] = json.loads(path.read_text())
        _source(run, small_dataset.as_uri())
        _model(run)["airtune"]["baseModel"] = TINY.as_uri()
        return run

    broken = tmp_path_factory.mktemp("broken") / "run.json"
    broken.write_text('{"spec": ')
    asked: dict[str, object] = {"not JSON": broken.as_uri()}
    for what in ("4 bit with SFT", "LoRA where the catalog forbids it", "two spellings that disagree"):
        run = good()
        WRONG[what][0](run)
        asked[what] = run
    for what, uri in (
        ("a dataset that does not exist", "file:///nowhere/at/all"),
        ("a bucket that is not there", "s3://not-a-bucket-here/data"),
        ("no readable image", unreadable.as_uri()),
    ):
        run = good()
        _source(run, uri)
        asked[what] = run
    ids = {}
    for what, conf in asked.items():
        answer = rest.trigger(conf)
        assert answer.status_code == 200, answer.text
        ids[what] = answer.json()["dag_run_id"]
    return {what: (run_id, rest.ended(run_id)) for what, run_id in ids.items()}


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("not JSON", "is not JSON"),
        ("4 bit with SFT", "SFT"),
        ("LoRA where the catalog forbids it", "trainingMode"),
        ("two spellings that disagree", "max_new_tokens"),
        ("a dataset that does not exist", "does not exist"),
        ("a bucket that is not there", "not-a-bucket-here"),
    ],
)
def test_load_run_refuses_what_only_a_comparison_can_tell(
    what: str, words: str, refused: dict[str, tuple[str, dict[str, str | None]]], rest: Rest
) -> None:
    run_id, tasks = refused[what]
    assert tasks["load_run"] == "failed"
    assert tasks["finetune"] == "upstream_failed"
    assert words in rest.log(run_id, "load_run")


def test_validation_refuses_a_dataset_without_a_readable_image(
    refused: dict[str, tuple[str, dict[str, str | None]]],
) -> None:
    _, tasks = refused["no readable image"]
    assert (tasks["load_run"], tasks["validate_dataset"]) == ("success", "failed")
    assert tasks["finetune"] == "upstream_failed"


def test_a_wrong_s3_secret_is_refused_without_a_second_try(
    run_json: dict[str, Any], platform: Machine, rest: Rest
) -> None:
    state = platform.state()
    server = next(each for each in state.processes if each.name == seaweedfs.NAME)
    folder = platform.home / "seaweedfs"
    keys = (folder / "keys.json").read_text()
    seaweedfs.stop(server)
    (folder / "keys.json").write_text(json.dumps({**json.loads(keys), "secret_key": "another-secret-than-Airflow-has"}))
    mark = {MARKER: str(platform.home)}
    try:
        changed = seaweedfs.start(folder, env=mark)
        assert changed.url == state.store["AWS_ENDPOINT_URL_S3"], "the same address, so that only the secret is wrong"
        answer = rest.trigger(run_json)
        run_id = answer.json()["dag_run_id"]
        tasks = rest.ended(run_id)
        log = rest.log(run_id, "load_run")
        seaweedfs.stop(changed.process)
    finally:
        (folder / "keys.json").write_text(keys)
        again = seaweedfs.start(folder, env=mark).process
        others = tuple(each for each in state.processes if each.name != seaweedfs.NAME)
        StateFile(platform.home).write(replace(state, processes=(again, *others)))
    assert tasks["load_run"] == "failed"
    assert tasks["finetune"] == "upstream_failed"
    assert "credentials" in log or "secret" in log or "not permitted" in log
    assert state.store["AWS_SECRET_ACCESS_KEY"] not in log
    assert platform.state().airflow_url == state.airflow_url, "the machine is as it was"
