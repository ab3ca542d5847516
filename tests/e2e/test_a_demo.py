"""The demo, as a newcomer runs it: from nothing to a published model, and back to nothing running.

The first of these files, so that the others find a machine on which airtune ran before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from machine import Machine

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

TASKS = [
    *("load_run", "plan_inspection", "inspect_images"),
    *("validate_dataset", "resolve_config", "finetune", "evaluate", "gate", "publish"),
]


@pytest.fixture(scope="module")
def summary(machine: Machine) -> dict[str, Any]:
    """What a demo has left, after it ended well."""
    done = machine.airtune("demo", timeout=590)
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.left() == [], "the demo stops everything that it started"
    assert "Airflow's own share" in done.stdout
    found: dict[str, Any] = json.loads((machine.home / "demo" / "summary.json").read_text())
    return found


def test_the_demo_ends_well_and_says_how_long_each_task_took(summary: dict[str, Any]) -> None:
    assert summary["state"] == "success"
    assert list(summary["tasks"]) == TASKS
    states = {name: task["state"] for name, task in summary["tasks"].items()}
    assert states.pop("inspect_images") == "skipped", "a small dataset is looked at by one task"
    assert set(states.values()) == {"success"}
    assert all(summary["tasks"][name]["seconds"] > 0 for name in states)
    assert summary["seconds"] >= sum(summary["tasks"][name]["seconds"] for name in states)
    assert set(summary) == {
        *("dag_run_id", "state", "tasks", "evaluation", "artifacts", "reload", "seconds", "airflow_seconds"),
    }


def test_the_tuned_model_answers_what_the_base_could_not(summary: dict[str, Any]) -> None:
    evaluation = summary["evaluation"]
    assert evaluation["tuned"]["exact_match"] >= 0.95
    assert evaluation["base"]["exact_match"] <= 0.2
    assert evaluation["samples"] == 120


def test_what_was_published_answers_as_what_was_trained(summary: dict[str, Any]) -> None:
    assert summary["reload"] == {"agreement": 1.0}
    assert summary["artifacts"]["run_uri"].startswith("s3://airtune/runs/")
    assert summary["artifacts"]["files"] > 10
    assert summary["artifacts"]["bytes"] > 1_000_000


def test_airflows_own_share_is_measured(summary: dict[str, Any]) -> None:
    """How many seconds it is depends on the machine: the README says it, with a date."""
    assert 0 < summary["airflow_seconds"] < summary["seconds"]


def test_the_report_lies_beside_the_figures(summary: dict[str, Any], machine: Machine) -> None:
    report = (machine.home / "demo" / "report.html").read_text()
    assert "<html" in report
    assert "data:image/" in report


def test_secrets_are_their_owners_alone(summary: dict[str, Any], machine: Machine) -> None:
    for name in ("secrets.json", "state.json", "airflow/airflow.cfg", "airflow/passwords.json", "airflow/airflow.db"):
        path: Path = machine.home / name
        assert path.stat().st_mode & 0o077 == 0, name


def test_the_champion_is_the_demos_run(summary: dict[str, Any], store: None) -> None:
    from airtune.stores.opening import open_store

    pointer = json.loads(open_store("s3://airtune").read("models/VQA-tiny-LoRA-NF4-v1/current.json"))
    assert pointer["run_id"] == summary["artifacts"]["run_uri"].rpartition("/")[2]


def test_a_finished_run_is_shown(summary: dict[str, Any], platform: Machine) -> None:
    shown = platform.airtune("show", summary["artifacts"]["run_uri"])
    assert shown.returncode == 0, shown.stderr
    assert "promote" in shown.stdout
    assert "exact_match" in shown.stdout
    told = json.loads(platform.airtune("show", summary["artifacts"]["run_uri"], "--json").stdout)
    assert told["evaluation"]["tuned"]["greedy"]["exact_match"] == summary["evaluation"]["tuned"]["exact_match"]
    assert told["gate"]["decision"] == "promote"
