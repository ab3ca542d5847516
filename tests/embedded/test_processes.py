"""Processes that were started are found again and ended, whoever their parent is by then."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from airtune.embedded import processes
from airtune.embedded.processes import MARKER, Started

# A parent with a child in its session, and one in a session of its own.
TREE = "sleep 300 & setsid sleep 301 & wait"

Start = Callable[[str], Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts shell commands that carry the test's mark, and kills whatever is left of them."""
    env = {**os.environ, MARKER: str(tmp_path)}

    def make(command: str) -> Started:
        return processes.start("tree", ["sh", "-c", command], env=env, cwd=tmp_path, log=tmp_path / "tree.log")

    yield make
    processes.stop(processes.family((), str(tmp_path)), number=signal.SIGKILL, wait_s=5)


def _sleeping(found: list[psutil.Process]) -> int:
    return sum(process.name() == "sleep" for process in found)


def _wait_for_both(record: Started, marker: str) -> None:
    until = time.monotonic() + 20
    while _sleeping(processes.family((record,), marker)) < 2:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_family_is_the_parent_its_session_and_what_left_that(start: Start, tmp_path: Path) -> None:
    record = start(TREE)
    _wait_for_both(record, str(tmp_path))
    assert record.pid in {process.pid for process in processes.family((record,), str(tmp_path))}


def test_orphans_of_a_parent_that_was_killed_are_found_by_their_mark(start: Start, tmp_path: Path) -> None:
    record = start(TREE)
    _wait_for_both(record, str(tmp_path))
    os.kill(record.pid, signal.SIGKILL)
    os.waitpid(record.pid, 0)
    assert record.process() is None
    left = processes.family((record,), str(tmp_path))
    assert _sleeping(left) == 2
    assert processes.stop(left, number=signal.SIGTERM, wait_s=5) == []
    assert processes.family((record,), str(tmp_path)) == []


def test_a_number_that_was_given_to_another_process_is_never_signalled(start: Start, tmp_path: Path) -> None:
    stranger = start("sleep 300")
    recycled = dataclasses.replace(stranger, created=stranger.created - 5)
    assert stranger.process() is not None
    assert recycled.process() is None
    assert processes.family((recycled,), "another mark") == []


def test_a_process_of_another_mark_is_no_family(start: Start, tmp_path: Path) -> None:
    record = start("exec sleep 300")
    assert processes.family((), str(tmp_path / "other")) == []
    assert [process.pid for process in processes.family((), str(tmp_path))] == [record.pid]


def test_who_does_not_listen_is_named(start: Start, tmp_path: Path) -> None:
    record = start("trap '' TERM; while true; do sleep 0.05; done")
    time.sleep(0.3)
    process = record.process()
    assert process is not None
    assert processes.stop([process], number=signal.SIGTERM, wait_s=0.3) == [process]
    assert processes.stop([process], number=signal.SIGKILL, wait_s=5) == []


def test_waiting_tells_the_exit_code_and_that_there_is_none_yet(start: Start) -> None:
    assert processes.wait(start("exit 3"), 10) == 3
    assert processes.wait(start("kill -9 $$"), 10) == -signal.SIGKILL
    assert processes.wait(start("sleep 300"), 0.2) is None


def test_output_goes_to_a_log_that_only_its_owner_reads(start: Start, tmp_path: Path) -> None:
    record = start("echo said; echo complained >&2; touch made")
    assert processes.wait(record, 10) == 0
    assert Path(record.log).read_text() == "said\ncomplained\n"
    assert (tmp_path / "made").stat().st_mode & 0o077 == 0


def test_a_record_survives_being_written_down(start: Start) -> None:
    record = start("sleep 300")
    again = Started.from_json(record.to_json())
    assert again == record
    assert again.process() is not None
