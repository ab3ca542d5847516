"""The supervisor above ``accelerate launch``: exit codes and signals get through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from airtune.configs import config_file
from airtune.launch import EVALUATION, KILLED, TRAINING, Orphan, accelerate_argv, exit_code_of

pytestmark = pytest.mark.training

STAGE = """
import os, signal, sys, time
from pathlib import Path
from airtune.errors import DataError, PreemptedError, Problem
from airtune.launch import Orphan, exit_code_of

def work():
    told, orphan = [], Orphan()
    signal.signal(signal.SIGTERM, lambda *_: told.append("SIGTERM"))
    Path(sys.argv[1]).write_text(str(os.getpid()))
    mode = sys.argv[2]
    if mode == "data":
        raise DataError(Problem("images/a.png", "is gone"))
    if mode == "defect":
        raise RuntimeError("unforeseen")
    if mode == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    while mode == "wait":
        time.sleep(0.02)
        if told or orphan:
            time.sleep(0.5)  # saving takes its time
            Path(sys.argv[1] + ".saved").write_text("orphan" if orphan else told[0])
            raise PreemptedError(Problem("training", "told to stop"))

sys.exit(exit_code_of(work))
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    (tmp_path / "a_stage.py").write_text(STAGE)
    started: list[subprocess.Popen[bytes]] = []

    def run(mode: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "airtune.launch", "accelerate", "launch", "--config_file", "cpu.yaml", "--quiet",
                "-m", "a_stage", str(tmp_path / "pid"), mode]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        started.append(subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        return started[-1]

    yield run
    for each in started:
        if each.poll() is None:
            each.kill()
        each.communicate()


def wait_for(path: Path) -> str:
    until = time.monotonic() + 90
    while not (path.is_file() and path.read_text()):
        assert time.monotonic() < until, f"{path} does not appear"
        time.sleep(0.02)
    return path.read_text()


def test_the_command_names_accelerate_the_module_and_the_run_and_its_configuration_exists() -> None:
    argv = accelerate_argv(TRAINING, "s3://airtune/runs/x", gpus=1, python="/usr/bin/python3")
    assert argv[:5] == ["/usr/bin/python3", "-m", "airtune.launch", "accelerate", "launch"]
    assert argv[-3:] == ["-m", "airtune.training", "s3://airtune/runs/x"]
    for gpus in (0, 1):
        argv = accelerate_argv(EVALUATION, "file:///runs/x", gpus=gpus)
        assert argv[0] == "python"
        assert config_file("accelerate", argv[argv.index("--config_file") + 1]).is_file()
    with pytest.raises(ValueError, match="0 or 1 GPU, not 2"):
        accelerate_argv(TRAINING, "file:///runs/x", gpus=2)


@pytest.mark.parametrize(("mode", "code", "said"), [("data", 65, "images/a.png: is gone"), ("die", KILLED, "")])
def test_the_stages_exit_code_gets_through_the_launcher(
    start: Callable[[str], subprocess.Popen[bytes]], mode: str, code: int, said: str
) -> None:
    process = start(mode)
    output = process.communicate(timeout=120)[0].decode()
    assert process.returncode == code, output
    assert said in output
    assert "CalledProcessError" not in output


def test_a_stop_signal_reaches_the_stage_and_is_waited_for(
    start: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    process = start("wait")
    wait_for(tmp_path / "pid")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75
    assert (tmp_path / "pid.saved").read_text() == "SIGTERM"


def test_when_the_supervisor_is_killed_the_stage_notices_and_saves(
    start: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    process = start("wait")
    stage = psutil.Process(int(wait_for(tmp_path / "pid")))
    process.kill()
    assert wait_for(tmp_path / "pid.saved") == "orphan"
    stage.wait(timeout=30)


def test_told_to_stop_before_the_stage_runs_nothing_is_lost(start: Callable[[str], subprocess.Popen[bytes]]) -> None:
    process = start("wait")
    time.sleep(0.5)  # the launcher is still importing
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75


def test_an_unknown_configuration_is_said_in_words() -> None:
    argv = [sys.executable, "-m", "airtune.launch", "accelerate", "launch", "--config_file", "moon.yaml", "-m", "this"]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 64
    assert "moon.yaml: the configuration file does not exist" in ended.stderr


def test_errors_become_words_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    from airtune.errors import Problem, SettingsError

    def bad() -> None:
        raise SettingsError([Problem("epochs", "too few", "0"), Problem("precision", "unknown", "'FP8'")])

    def broken() -> None:
        raise RuntimeError("unforeseen")

    assert exit_code_of(lambda: None) == 0
    assert exit_code_of(bad) == 64
    assert capsys.readouterr().err == "epochs: too few (got 0)\nprecision: unknown (got 'FP8')\n"
    assert exit_code_of(broken) == 70
    assert "unforeseen" in capsys.readouterr().err


def test_a_process_without_a_launcher_is_no_orphan() -> None:
    assert not Orphan()


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, airtune.launch; print([m for m in ('torch', 'transformers', 'accelerate') if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == "[]"
