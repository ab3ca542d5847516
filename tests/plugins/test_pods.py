"""Stages as pods, by the real operator in a real task, against a stand-in API server that deletes gracefully."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
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
    def __init__(self, *, code, pod_options=None, **options):
        quick = {"startup_check_interval_seconds": 0.2, **(pod_options or {})}
        super().__init__(stage="resolve", retry_policy=failures.StageRetryPolicy(), pod_options=quick, **options)
        self.code = code

    def argv(self, *, gpus):
        return ["python", "-c", self.code, self.run_uri]

"""

# The provider's own operator with the same work, for comparison.
PROVIDER = """
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

SAFE = {{"runAsNonRoot": True, "allowPrivilegeEscalation": False, "capabilities": {{"drop": ["ALL"]}},
         "seccompProfile": {{"type": "RuntimeDefault"}}}}

with dag:
    KubernetesPodOperator(task_id="provider", name="airtune-provider", image="x", namespace="training",
                          cmds=["python", "-c", {code!r}], container_security_context=SAFE,
                          startup_check_interval_seconds=0.2)
"""

DONE = """
import sys
from airtune.stores.run_directory import RunDirectory
from airtune.stores.stage_record import stage
with stage(RunDirectory.open(sys.argv[1]), "resolve"):
    print("the stage did its work", flush=True)
"""

WORK = """
import os, signal, sys, time
def save(*_):
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
print("{word}", flush=True)
time.sleep(60)
"""

SECRET = "not-for-any-log"

FIRST_TRY_PREEMPTED = """
import os, sys
if os.environ["AIRTUNE_TRY"] == "1":
    sys.exit(75)
"""

UP = WORK.format(word="up")

TASKS: dict[str, dict[str, Any]] = {
    "unrecorded": {"code": "pass"},
    "done": {"code": DONE},
    "settings": {"code": "print('epochs: 0 is too few'); raise SystemExit(64)", "retries": 3},
    "preempted": {"code": FIRST_TRY_PREEMPTED + DONE, "retries": 3},
    "defect": {"code": "raise SystemExit(70)", "retries": 5},
    "memory": {
        "code": WORK.format(word="up"),
        "retries": 3,
        "pod_options": {"annotations": {"standin/end": "OOMKilled"}},
    },
    "evicted": {
        "code": WORK.format(word="up"),
        "retries": 1,
        "pod_options": {"annotations": {"standin/end": "Evicted"}},
    },
    "drained": {"code": WORK.format(word="working for drained")},
    "drained_early": {"code": DONE},
}

DRAIN_AT = ("working for drained", "'task_id': 'drained_early'", "working for provider")
"""When these words stand in the log of a task, its process gets SIGTERM, as when its worker is drained."""


@dataclass
class Ends:
    """How the tasks above ended."""

    tasks: dict[str, dict[str, Any]]
    output: str
    cluster: Any

    def state(self, task: str) -> str:
        """A task's final state."""
        return str(self.tasks[task]["state"])

    def pods(self, task: str) -> int:
        """How many pods it took."""
        return len(self.cluster.pods(task))


def dag(airflow: Any, tasks: dict[str, dict[str, Any]]) -> str:
    """A DAG file with these tasks, each on a run of its own."""
    from airtune.stores.run_directory import RunDirectory

    store = airflow.env["AIRTUNE_STORE"]
    runs = {name: RunDirectory.create(store, name, json.dumps({"spec": {}})).uri for name in tasks}
    lines = [f"    Stage(task_id={name!r}, run_uri={runs[name]!r}, **{options!r})" for name, options in tasks.items()]
    return HEAD + "\n".join(['with DAG("stand_in", schedule=None) as dag:', *lines, ""])


@pytest.fixture(scope="module")
def ends(module_airflow: Any, module_cluster: Any) -> Ends:
    """All tasks, run one after the other in one process, which gets SIGTERM at the words above."""
    module_airflow.env |= {"AIRTUNE_S3_SECRET": "airtune-s3", "AWS_SECRET_ACCESS_KEY": SECRET}
    source = dag(module_airflow, TASKS) + PROVIDER.format(code=WORK.format(word="working for provider"))
    process = module_airflow.start_dag(source)
    before = ""
    pending = list(DRAIN_AT)
    for line in process.stdout:
        before += line
        for words in [each for each in pending if each in line]:
            pending.remove(words)
            process.send_signal(signal.SIGTERM)
        if not pending:
            break
    result = module_airflow.finish(process, 300)
    return Ends(result["tasks"], before + result["output"], module_cluster)


def test_a_pod_that_did_its_work_is_a_success_and_its_output_is_the_tasks_log(ends: Ends) -> None:
    assert ends.state("done") == "success"
    assert "the stage did its work" in ends.output
    assert ends.pods("done") == 1


def test_a_pod_that_succeeds_without_having_recorded_its_work_is_no_success(ends: Ends) -> None:
    assert ends.state("unrecorded") == "failed"
    assert "the pod succeeded, but the stage has recorded nothing" in ends.output


def test_bad_settings_are_not_tried_again_and_the_stages_words_are_in_the_log(ends: Ends) -> None:
    assert ends.state("settings") == "failed"
    assert ends.pods("settings") == 1
    assert "exit code 64: the settings cannot be used\nepochs: 0 is too few" in ends.output


def test_a_stage_that_was_preempted_is_tried_again(ends: Ends) -> None:
    assert ends.state("preempted") == "success"
    assert ends.pods("preempted") == 2


def test_a_defect_is_tried_again_once_and_not_twice(ends: Ends) -> None:
    assert ends.state("defect") == "failed"
    assert ends.pods("defect") == 2


def test_a_container_out_of_memory_is_named_so_and_not_tried_again(ends: Ends) -> None:
    assert ends.state("memory") == "failed"
    assert "more memory than its limit (OOMKilled)" in ends.output
    assert ends.pods("memory") == 1


def test_an_evicted_pod_is_named_so_and_tried_again(ends: Ends) -> None:
    assert ends.state("evicted") == "failed"
    assert "evicted the pod (Evicted)" in ends.output
    assert ends.pods("evicted") == 2


def test_secrets_come_from_a_kubernetes_secret_and_are_in_no_request_and_no_log(ends: Ends) -> None:
    container = ends.cluster.pods("done")[0]["spec"]["containers"][0]
    assert container["envFrom"] == [{"secretRef": {"name": "airtune-s3"}}]
    assert SECRET not in json.dumps(ends.cluster.pods("done"))
    assert SECRET not in ends.output
    assert "remote_pod: {" not in ends.output  # the provider's print of a failed pod


def test_a_task_that_is_told_to_stop_while_its_pod_works_is_no_success(ends: Ends) -> None:
    assert ends.state("drained") == "failed"
    assert "the task was told to stop, and its pod was deleted" in ends.output
    assert "saved" in ends.cluster.logs("drained")  # the stop reached the stage through the guard


def test_a_task_that_is_told_to_stop_while_its_pod_is_made_leaves_none_and_is_no_success(ends: Ends) -> None:
    assert ends.state("drained_early") == "failed"
    made = {pod["metadata"]["name"] for pod in ends.cluster.pods("drained_early")}
    deleted = {path.rpartition("/")[2] for path in ends.cluster.requests("DELETE")}
    assert made <= deleted


def test_the_providers_own_operator_calls_the_same_thing_a_success(ends: Ends) -> None:
    # apache/airflow issue 73006. When this fails, the provider is mended, and ours need not be stricter any more.
    assert ends.state("provider") == "success"
    assert "saved" in ends.cluster.logs("provider")  # although its pod was killed in the middle of its work
