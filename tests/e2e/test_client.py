"""The client of Airflow's REST API says in words what Airflow has against a request."""

from __future__ import annotations

from typing import Any

import pytest
from machine import Machine

from airtune.embedded.airflow import ADMIN, DAG_ID
from airtune.embedded.client import AirflowClient
from airtune.errors import NotPermittedError, SettingsError

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]


def test_a_wrong_password_is_not_permitted(platform: Machine) -> None:
    with (
        AirflowClient(platform.state().airflow_url, username=ADMIN, password="wrong") as airflow,
        pytest.raises(NotPermittedError, match="credentials") as caught,
    ):
        airflow.has_dag(DAG_ID)
    assert "wrong" not in str(caught.value)


def test_a_token_that_has_expired_is_renewed(platform: Machine) -> None:
    with platform.client() as airflow:
        airflow._token = "expired"
        assert airflow.has_dag(DAG_ID)


def test_a_run_that_does_not_exist_is_named(platform: Machine) -> None:
    with platform.client() as airflow, pytest.raises(SettingsError, match="no-such-run"):
        airflow.dag_run(DAG_ID, "no-such-run")


def test_a_name_that_is_taken_is_refused_with_the_way_out(platform: Machine, run_json: dict[str, Any]) -> None:
    run_json["spec"]["flow"]["blocks"][0]["settings"]["airtune"]["source"] = "file:///nowhere"
    with platform.client() as airflow:
        name = airflow.trigger(DAG_ID, {"run": run_json}, run_id="taken")
        with pytest.raises(SettingsError, match="--run-id"):
            airflow.trigger(DAG_ID, {"run": run_json}, run_id=name)
        airflow.fail(DAG_ID, name)


def test_params_that_the_schema_refuses_are_told_with_airflows_reason(platform: Machine) -> None:
    with platform.client() as airflow, pytest.raises(SettingsError, match="400"):
        airflow.trigger(DAG_ID, {"run": {"spec": {}}})


def test_the_dag_and_the_plugin_are_imported_without_an_error(platform: Machine) -> None:
    with platform.client() as airflow:
        assert airflow.import_errors() == []
        health = airflow.health()
    assert {health["metadatabase"], health["scheduler"], health["dag_processor"]} == {"healthy"}
