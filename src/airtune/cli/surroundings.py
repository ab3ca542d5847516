"""Finds what a command needs around it: AIRTUNE_HOME, the store, Airflow."""

from __future__ import annotations

import os
from pathlib import Path

from airtune.embedded import lifecycle
from airtune.embedded.client import AirflowClient
from airtune.environment import Environment
from airtune.errors import Problem, SettingsError

_STORE_VARIABLES = ("AIRTUNE_STORE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_PROFILE")


def find_home() -> Path:
    """AIRTUNE_HOME; within a checkout of airtune it is the checkout's ``.airtune``, whatever the current folder."""
    if not os.environ.get("AIRTUNE_HOME"):
        checkout = Path(__file__).resolve().parents[3]
        here = Path.cwd()
        if (checkout / "dags").is_dir() and here.is_relative_to(checkout):
            os.environ["AIRTUNE_HOME"] = str(checkout / ".airtune")
    home = Environment.read().home.resolve()
    os.environ["AIRTUNE_HOME"] = str(home)
    return home


def find_store() -> None:
    """Where nobody has said which store and which S3 server: those of the embedded airtune, if it runs."""
    home = find_home()
    if any(os.environ.get(name) for name in _STORE_VARIABLES):
        return
    state = lifecycle.running(home)
    if state is not None:
        lifecycle.use_store(state)


def find_airflow() -> AirflowClient:
    """A client of the Airflow that AIRTUNE_AIRFLOW_URL names, else of the embedded one.

    Raises:
        SettingsError: there is neither.
    """
    environment = Environment.read()
    if environment.airflow_url is not None:
        return AirflowClient(
            environment.airflow_url,
            username=environment.airflow_username,
            password=environment.airflow_password,
            token=environment.airflow_token,
        )
    home = find_home()
    state = lifecycle.running(home)
    if state is None:
        raise SettingsError(
            Problem(
                "Airflow",
                "no Airflow of airtune's own runs here",
                value=f"AIRTUNE_HOME={home}",
                fix="start it with `airtune up`, or set AIRTUNE_AIRFLOW_URL to the address of yours",
            )
        )
    return lifecycle.client(home, state)
