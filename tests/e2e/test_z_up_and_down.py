"""What was started is found by the next command, listens on this machine alone, and is stopped, whatever happened.

The last of these files: afterwards nothing runs any more.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from machine import AIRTUNE, Machine

from airtune.embedded import processes

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]


def test_a_second_up_finds_the_first(platform: Machine) -> None:
    before = platform.state()
    begun = time.monotonic()
    done = platform.airtune("up")
    assert done.returncode == 0
    assert time.monotonic() - begun < 10
    assert before.airflow_url in done.stdout
    assert platform.state().processes == before.processes
    told = json.loads(platform.airtune("status", "--json").stdout)
    assert told["running"] is True
    assert {each["name"] for each in told["processes"]} == {"seaweedfs", "api-server", "scheduler", "dag-processor"}


def test_everything_listens_on_the_loopback_address(platform: Machine) -> None:
    found = []
    for process in processes.family(platform.state().processes, str(platform.home)):
        found += [each.laddr.ip for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN]
    assert len(found) >= 2
    assert set(found) == {"127.0.0.1"}


def test_a_killed_scheduler_is_noticed_and_its_orphans_are_stopped(platform: Machine) -> None:
    scheduler = next(each for each in platform.state().processes if each.name == "scheduler")
    workers = psutil.Process(scheduler.pid).children()
    assert workers
    os.kill(scheduler.pid, signal.SIGKILL)
    told = platform.airtune("status", "--json")
    assert told.returncode == 1
    assert json.loads(told.stdout)["running"] is False
    done = platform.airtune("down")
    assert done.returncode == 0, done.stderr
    assert platform.left() == []
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers)
    assert platform.airtune("down").stdout.strip() == "nothing was running"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_broken_off_while_it_starts_leaves_nothing(
    number: signal.Signals, machine: Machine, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with log.open("w") as output:
        demo = subprocess.Popen([AIRTUNE, "demo"], env=machine.env, cwd=tmp_path, stdout=output, stderr=output)
    until = time.monotonic() + 120
    while not re.search("starting Airflow", log.read_text()):
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)
    time.sleep(1)
    assert machine.left() != []
    demo.send_signal(number)
    assert demo.wait(60) == 130, log.read_text()
    assert machine.left() == []
    assert not (machine.home / "demo" / "summary.json").exists(), "an old one is not taken for this demo's"
