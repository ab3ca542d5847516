"""What a command finds around it: its home, its store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from machine import PROJECT

from airtune.cli.surroundings import find_home, find_store
from airtune.embedded.processes import Started
from airtune.embedded.state import State, StateFile


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the variables that decide it."""
    for name in os.environ:
        if name.startswith(("AIRTUNE_", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AIRTUNE_HOME", "")  # so that it is put back afterwards


def test_within_a_checkout_home_is_the_checkouts_from_every_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT / "src")
    assert find_home() == PROJECT / ".airtune"


def test_elsewhere_home_is_in_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_home() == tmp_path / ".airtune"


def test_a_home_that_was_named_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "named"))
    assert find_home() == tmp_path / "named"


def test_the_embedded_store_is_used_while_it_runs_and_nobody_named_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import psutil

    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path))
    store = {"AIRTUNE_STORE": "s3://airtune", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
    for name in store:
        monkeypatch.setenv(name, "")
    find_store()
    assert not os.environ["AIRTUNE_STORE"], "nothing runs yet"
    this = psutil.Process()
    StateFile(tmp_path).write(
        State("http://127.0.0.1:2", store, True, (Started("x", this.pid, this.create_time(), ""),))
    )
    find_store()
    assert {name: os.environ[name] for name in store} == store
    monkeypatch.setenv("AIRTUNE_STORE", "s3://mine")
    find_store()
    assert os.environ["AIRTUNE_STORE"] == "s3://mine"
