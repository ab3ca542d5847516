"""What runs is written down: for the next command, and for nobody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from airtune.embedded import lifecycle
from airtune.embedded.credentials import Secrets
from airtune.embedded.ports import free_port, is_free
from airtune.embedded.processes import Started
from airtune.embedded.state import State, StateFile
from airtune.errors import AirtuneError, SettingsError


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = State("http://127.0.0.1:1", {"AWS_SECRET_ACCESS_KEY": "s"}, True, (Started("a", 1, 2.0, "log"),))
    file = StateFile(tmp_path)
    file.write(state)
    assert file.read() == state
    assert file.path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"processes": 3}', '{"processes": [], "of another version": 1}'])
def test_a_state_that_cannot_be_read_is_no_state(text: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(text)
    assert StateFile(tmp_path).read() is None
    assert lifecycle.running(tmp_path) is None
    assert lifecycle.down(tmp_path, print) == 0


def test_what_has_ended_does_not_run(tmp_path: Path) -> None:
    ended = Started("scheduler", os.getpid(), 1.0, "log")  # this very process, but not its start time
    StateFile(tmp_path).write(State("http://127.0.0.1:1", {}, True, (ended,)))
    assert lifecycle.running(tmp_path) is None


def test_a_secret_is_not_in_what_is_printed_of_a_state() -> None:
    assert "hidden" not in repr(State(store={"AWS_SECRET_ACCESS_KEY": "hidden"}))
    assert Secrets.generate().admin_password not in repr(Secrets.generate())


def test_two_commands_do_not_start_at_the_same_time(tmp_path: Path) -> None:
    hold = (
        "import pathlib, sys, time\nfrom airtune.embedded.state import StateFile\n"
        "with StateFile(pathlib.Path(sys.argv[1])).locked():\n    print('held', flush=True)\n    time.sleep(1)"
    )
    other = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    begun = time.monotonic()
    with StateFile(tmp_path).locked():
        assert time.monotonic() - begun > 0.5
    assert other.wait(10) == 0


def test_a_home_that_cannot_be_written_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(AirtuneError, match="AIRTUNE_HOME"), StateFile(tmp_path / "file" / "home").locked():
        pass


def test_secrets_are_made_once_and_kept(tmp_path: Path) -> None:
    first = Secrets.load_or_create(tmp_path / "secrets.json")
    assert Secrets.load_or_create(tmp_path / "secrets.json") == first
    assert (tmp_path / "secrets.json").stat().st_mode & 0o077 == 0
    values = json.loads((tmp_path / "secrets.json").read_text()).values()
    assert len(set(values)) == len(values)
    (tmp_path / "secrets.json").write_text("{}")
    with pytest.raises(SettingsError, match="remove it"):
        Secrets.load_or_create(tmp_path / "secrets.json")


def test_a_port_is_kept_while_it_is_free() -> None:
    import socket

    port = free_port()
    assert free_port(port) == port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert not is_free(port)
        assert free_port(port) != port
    assert free_port(port, but=[port]) != port
