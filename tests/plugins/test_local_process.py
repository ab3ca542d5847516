"""Stages as child processes: output, exit codes, stops, and never two of one run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from airtune_airflow.operators import local_process
from airtune_airflow.operators.local_process import MARKER, LocalProcess

WORK = """
    import signal, sys, time
    def save(*_):
        time.sleep(0.2)
        print("saved", flush=True)
        sys.exit(75)
    signal.signal(signal.SIGTERM, save)
    print("working", flush=True)
    time.sleep(60)
"""

LAUNCHER = f"""
    # a launcher as accelerate is one: the work is done in its child
    import subprocess, sys, textwrap
    sys.exit(subprocess.call([sys.executable, "-c", textwrap.dedent({WORK!r})]))
"""


@pytest.fixture
def run_uri(tmp_path: Path) -> Iterator[str]:
    """A run of the test's own; its processes are killed afterwards."""
    uri = (tmp_path / "runs" / "a-run").as_uri()
    yield uri
    for each in processes(uri):
        each.kill()


def stage(code: str, run_uri: str, *, grace_s: float = 20, env: dict[str, str] | None = None) -> LocalProcess:
    argv = [sys.executable, "-c", textwrap.dedent(code)]
    return LocalProcess(argv, run_uri=run_uri, stage="train", grace_s=grace_s, env=env)


def processes(run_uri: str) -> list[psutil.Process]:
    return local_process._marked(LocalProcess([], run_uri=run_uri, stage="train", grace_s=1)._marker)


def wait_for(what: Any, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def test_output_comes_line_by_line_and_the_exit_code_through(run_uri: str) -> None:
    lines: list[str] = []
    code = "print('one'); print('two\\rthree'); import sys; print('err', file=sys.stderr); sys.exit(65)"
    assert stage(code, run_uri).run(lines.append) == 65
    assert sorted(lines) == ["err", "one", "three", "two"]


def test_lines_arrive_while_the_stage_runs(run_uri: str) -> None:
    seen: list[float] = []
    code = "import time\nfor _ in range(3):\n    print('line', flush=True)\n    time.sleep(0.5)"
    stage(code, run_uri).run(lambda _: seen.append(time.monotonic()))
    assert seen[2] - seen[0] > 0.5


def test_output_without_line_ends_and_with_broken_characters_is_no_trouble(run_uri: str) -> None:
    lines: list[str] = []
    code = "import sys; sys.stdout.buffer.write(b'a' * 100_000 + b'\\xff\\xfe\\nend')"
    assert stage(code, run_uri).run(lines.append) == 0
    assert lines[-1] == "end"
    assert max(map(len, lines)) < 20_000
    assert sum(line.count("a") for line in lines) >= 16_000


def test_the_environment_is_the_workers_without_what_is_airflows_own(
    run_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "a secret")
    monkeypatch.setenv("AIRTUNE_STORE", "s3://airtune")
    lines: list[str] = []
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    stage(code, run_uri, env={"AIRTUNE_TRY": "3"}).run(lines.append)
    assert "a secret" not in lines[0]
    assert '"AIRTUNE_STORE": "s3://airtune"' in lines[0]
    assert '"AIRTUNE_TRY": "3"' in lines[0]


@pytest.mark.parametrize("code", [WORK, LAUNCHER])
def test_a_stop_lets_the_stage_save_and_its_75_comes_back(run_uri: str, code: str) -> None:
    process = stage(code, run_uri)
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        if line == "working":
            process.stop()

    assert process.run(on_line) == 75
    assert process.stopped
    assert "saved" in lines
    assert processes(run_uri) == []


def test_a_stage_that_ignores_the_stop_is_killed_after_its_grace(run_uri: str) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    process = stage(code, run_uri, grace_s=1)
    assert process.run(lambda line: process.stop() if line == "up" else None) == 137
    assert processes(run_uri) == []


def test_an_exception_in_the_task_such_as_a_timeout_ends_the_stage_first(run_uri: str) -> None:
    def on_line(line: str) -> None:
        if line == "working":
            raise TimeoutError("execution timeout")

    with pytest.raises(TimeoutError):
        stage(LAUNCHER, run_uri).run(on_line)
    assert processes(run_uri) == []


def test_stopping_before_it_began_starts_nothing(run_uri: str) -> None:
    process = stage("print('never')", run_uri)
    process.stop()
    lines: list[str] = []
    assert process.run(lines.append) == 143
    assert lines == []


def worker(run_uri: str, code: str) -> subprocess.Popen[str]:
    """A task process of its own that runs a stage, as on a worker."""
    program = f"""
from airtune_airflow.operators.local_process import LocalProcess
import sys
argv = [sys.executable, "-c", {textwrap.dedent(code)!r}]
print(LocalProcess(argv, run_uri={run_uri!r}, stage="train", grace_s=20).run(lambda line: print(line, flush=True)))
"""
    plugins = str(Path(__file__).resolve().parents[2] / "plugins")
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": plugins},
    )


def read_until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(f"{word!r} never came")


def test_kill_minus_9_of_the_worker_leaves_no_trainer(run_uri: str) -> None:
    task = worker(run_uri, LAUNCHER)
    read_until(task, "working")
    assert len(processes(run_uri)) >= 3  # guard, launcher, trainer
    task.kill()
    task.wait(10)
    wait_for(lambda: not processes(run_uri))


def test_a_new_try_ends_what_an_earlier_one_left_running_before_it_begins(run_uri: str) -> None:
    task = worker(run_uri, LAUNCHER)
    read_until(task, "working")
    os.kill(task.pid, signal.SIGSTOP)  # a worker that hangs: its stage goes on, and Airflow starts another try
    try:
        before = {process.pid for process in processes(run_uri)}
        lines: list[str] = []
        assert stage("print('second try')", run_uri).run(lines.append) == 0
        assert lines == ["second try"]
        assert not before & {process.pid for process in psutil.process_iter() if process.status() != "zombie"}
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(task.pid, signal.SIGKILL)
        task.wait(10)


def test_another_stage_or_another_run_is_left_alone(run_uri: str) -> None:
    task = worker(run_uri, WORK)
    read_until(task, "working")
    try:
        for other, name in ((run_uri, "evaluate"), (f"{run_uri}-2", "train")):
            process = LocalProcess([sys.executable, "-c", "pass"], run_uri=other, stage=name, grace_s=5)
            assert process.run(lambda _: None) == 0
        assert processes(run_uri)
    finally:
        task.kill()
        task.wait(10)


def test_the_marker_is_in_the_environment_of_every_process_of_the_stage(run_uri: str) -> None:
    process = stage(LAUNCHER, run_uri)
    seen: list[list[str]] = []

    def on_line(line: str) -> None:
        if line == "working":
            seen.append([" ".join(each.cmdline()) for each in processes(run_uri)])
            threading.Timer(0.1, process.stop).start()

    process.run(on_line)
    assert len(seen[0]) == 3
    assert MARKER.startswith("AIRTUNE_")
