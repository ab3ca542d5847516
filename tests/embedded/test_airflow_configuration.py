"""The embedded Airflow's configuration and environment: its own alone, and on the loopback address."""

from __future__ import annotations

import configparser
import json
import sys
from pathlib import Path

import pytest

from airtune.embedded.airflow import COMPONENTS, EmbeddedAirflow, project_root
from airtune.embedded.credentials import Secrets
from airtune.embedded.processes import MARKER


@pytest.fixture
def airflow(tmp_path: Path) -> EmbeddedAirflow:
    """One in a folder whose name has a percent sign, which configuration files read as the beginning of a name."""
    return EmbeddedAirflow(tmp_path / "100%(home)s", project_root(), 23456)


def _configuration(airflow: EmbeddedAirflow, secrets: Secrets) -> configparser.ConfigParser:
    airflow.write_configuration(secrets)
    parser = configparser.ConfigParser()
    parser.read(airflow.airflow_home / "airflow.cfg")
    return parser


def test_it_listens_on_the_loopback_address_alone(airflow: EmbeddedAirflow) -> None:
    found = _configuration(airflow, Secrets.generate())
    assert found["api"]["host"] == "127.0.0.1"
    assert found["api"]["port"] == "23456"
    # The log servers of these two listen on every interface, and have no setting for it.
    assert "--skip-serve-logs" in COMPONENTS["scheduler"]
    assert "triggerer" not in COMPONENTS


def test_paths_are_read_back_as_they_were_written(airflow: EmbeddedAirflow) -> None:
    found = _configuration(airflow, Secrets.generate())
    assert found["database"]["sql_alchemy_conn"] == f"sqlite:///{airflow.airflow_home / 'airflow.db'}"
    assert found["logging"]["base_log_folder"] == str(airflow.airflow_home / "logs")
    assert Path(found["core"]["dags_folder"], "vlm_finetune.py").is_file()


def test_the_password_was_chosen_before_airflow_starts(airflow: EmbeddedAirflow) -> None:
    secrets = Secrets.generate()
    found = _configuration(airflow, secrets)
    passwords = json.loads(Path(found["core"]["simple_auth_manager_passwords_file"]).read_text())
    assert passwords == {"admin": secrets.admin_password}
    for name in ("airflow.cfg", "passwords.json"):
        assert (airflow.airflow_home / name).stat().st_mode & 0o077 == 0


def test_what_the_caller_happens_to_have_does_not_reach_in(
    airflow: EmbeddedAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "AIRFLOW_HOME",
        "AIRFLOW__CORE__EXECUTOR",
        "AWS_PROFILE",
        "AIRTUNE_STORE",
        "PYTHONPATH",
        "VIRTUAL_ENV",
    ):
        monkeypatch.setenv(name, "somebody else's")
    monkeypatch.setenv("AIRTUNE_ALLOWED_SOURCES", "file:///data")
    monkeypatch.setenv("NO_PROXY", "example.org")
    found = airflow.environment({"AIRTUNE_STORE": "s3://airtune"})
    assert "somebody else's" not in found.values()
    assert found["AIRFLOW_HOME"] == str(airflow.airflow_home)
    assert found["AIRTUNE_STORE"] == "s3://airtune"
    assert found["AIRTUNE_ALLOWED_SOURCES"] == "file:///data"
    assert found["NO_PROXY"] == "example.org,127.0.0.1,localhost"
    assert found["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert found[MARKER] == str(airflow.home)


def test_no_secret_of_airflow_stands_in_the_environment_that_stages_inherit(airflow: EmbeddedAirflow) -> None:
    secrets = Secrets.generate()
    airflow.write_configuration(secrets)
    values = " ".join(airflow.environment({}).values())
    for secret in (secrets.admin_password, secrets.fernet_key, secrets.jwt_secret, secrets.api_secret):
        assert secret not in values
