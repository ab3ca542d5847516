"""The command line as a process: words on stderr, JSON on stdout, and the exit code of what went wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from machine import PROJECT, Machine

from airtune.cli import main
from airtune.runspec.schema_export import schema_text
from airtune.stores.run_directory import RunDirectory
from airtune.stores.stage_record import read_stage_record

RUN = PROJECT / "include" / "configs" / "runs" / "demo.json"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which nothing runs."""
    return Machine(tmp_path / ".airtune")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An AIRTUNE_HOME of the test's own, for commands that run within this process."""
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / ".airtune"))
    monkeypatch.delenv("AIRTUNE_AIRFLOW_URL", raising=False)
    return tmp_path / ".airtune"


def test_a_valid_run_json_is_said_to_be_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(RUN)]) == 0
    assert "is a valid run.json" in capsys.readouterr().out


def test_problems_are_json_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = json.loads(RUN.read_text())
    broken["spec"]["flow"]["blocks"][1]["settings"]["hyperparameters"] |= {"epochs": 0, "batchSize": "4"}
    (tmp_path / "run.json").write_text(json.dumps(broken))
    assert main(["check", str(tmp_path / "run.json"), "--json"]) == 64
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == 64
    assert [problem["where"].rpartition(".")[2] for problem in told["problems"]] == ["epochs", "batchSize"]
    assert set(told["problems"][0]) == {"where", "message", "value", "allowed", "fix"}


def test_the_schema_command_prints_the_schema_that_lies_in_the_configs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    printed = capsys.readouterr().out
    assert printed == schema_text()
    assert printed == (PROJECT / "include" / "configs" / "run.schema.json").read_text()


@pytest.mark.parametrize("arguments", [["nonsense"], ["check"], ["submit", "a.json", "--nonsense"]])
def test_wrong_usage_is_a_wrong_setting(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 64
    assert "Usage: airtune" in capsys.readouterr().err


def test_without_an_airflow_submit_says_how_to_get_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", str(RUN)]) == 64
    assert "airtune up" in capsys.readouterr().err


def test_an_airflow_that_does_not_answer_is_told_by_its_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRTUNE_AIRFLOW_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("airtune.embedded.client._PAUSE_S", 0.01)
    assert main(["submit", str(RUN)]) == 76
    said = capsys.readouterr().err
    assert "http://127.0.0.1:9" in said
    assert "does not answer" in said


def test_status_of_nothing_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["running"] is False
    assert main(["down"]) == 0


def test_a_run_that_is_not_there_is_told_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = (tmp_path / "store" / "runs" / "none").as_uri()
    for command in ("show", "validate", "resolve", "gate", "publish"):
        assert main([command, uri]) == 64
        assert "there is no run here" in capsys.readouterr().err
    assert main(["show", "ftp://x/runs/y"]) == 64


def test_a_stage_that_fails_ends_with_its_code_and_leaves_its_problems(machine: Machine, tmp_path: Path) -> None:
    document = json.loads(RUN.read_text())
    (tmp_path / "empty").mkdir()
    document["spec"]["flow"]["blocks"][0]["settings"]["airtune"]["source"] = (tmp_path / "empty").as_uri()
    run = RunDirectory.create((tmp_path / "store").as_uri(), "r", json.dumps(document))
    done = machine.airtune("validate", run.uri)
    assert done.returncode in (64, 65)
    assert "Traceback" not in done.stderr
    record = read_stage_record(run, "validate")
    assert record is not None
    assert record["exit_code"] == done.returncode
    assert record["problems"][0]["where"]
    shown = machine.airtune("show", run.uri)
    assert shown.returncode == 0, shown.stderr
    assert "validate failed" in shown.stdout


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    from airtune import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"airtune {__version__}\n"


def test_the_commands_start_without_anything_heavy(machine: Machine) -> None:
    import subprocess
    import sys

    heavy = "{'torch', 'transformers', 'pandas', 'great_expectations', 'boto3', 'pyarrow', 'airflow'}"
    program = f"import sys, airtune.cli.app; found = {heavy} & set(sys.modules); sys.exit(str(found) if found else 0)"
    done = subprocess.run([sys.executable, "-c", program], env=machine.env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
