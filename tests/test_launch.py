"""The supervisor above ``accelerate launch``: exit codes and signals get through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from airtune.configs import config_file
from airtune.errors import SettingsError
from airtune.launch import (
    EVALUATION,
    KILLED,
    TRAINING,
    Orphan,
    accelerate_argv,
    ending,
    exit_code_of,
    rendezvous,
)

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


@pytest.mark.parametrize(
    ("asked", "config", "options"),
    [
        ({"gpus": 4}, "multi-gpu.yaml", ["--num_processes", "4"]),
        ({"gpus": 4, "sharded": True}, "multi-gpu-fsdp2.yaml", ["--num_processes", "4"]),
        ({"gpus": 1, "sharded": True}, "single-gpu.yaml", []),
        ({"gpus": 0, "processes": 2}, "multi-cpu.yaml", ["--num_processes", "2"]),
        ({"gpus": 0, "processes": 2, "sharded": True}, "multi-cpu-fsdp2.yaml", ["--num_processes", "2"]),
        ({"gpus": 8, "nodes": 2}, "several-nodes.yaml", ["--num_processes", "16", "--num_machines", "2"]),
        (
            {"gpus": 1, "nodes": 3, "sharded": True},
            "several-nodes-fsdp2.yaml",
            ["--num_processes", "3", "--num_machines", "3"],
        ),
    ],
)
def test_the_configuration_goes_by_devices_nodes_and_whether_the_model_is_divided(
    asked: dict[str, Any], config: str, options: list[str]
) -> None:
    argv = accelerate_argv(TRAINING, "file:///runs/x", **asked)
    place = argv.index("--config_file")
    assert argv[place + 1] == config
    assert argv[place + 2 : -4] == options
    written = yaml.safe_load(config_file("accelerate", config).read_text())
    assert written["use_cpu"] is (asked["gpus"] == 0)
    assert (written["distributed_type"] == "FSDP") is config.endswith("-fsdp2.yaml")
    assert written["mixed_precision"] == "no"  # the run's own setting decides


def test_an_evaluation_takes_one_device_however_many_there_are() -> None:
    argv = accelerate_argv(EVALUATION, "file:///runs/x", gpus=4, sharded=True)
    assert "single-gpu.yaml" in argv
    assert "--num_processes" not in argv


def test_more_processes_than_gpus_are_refused() -> None:
    with pytest.raises(ValueError, match="4 processes on 2 GPUs"):
        accelerate_argv(TRAINING, "file:///runs/x", gpus=2, processes=4)


def test_which_of_several_nodes_this_is_comes_from_the_environment() -> None:
    variables = {"JOB_COMPLETION_INDEX": "1", "AIRTUNE_MAIN_ADDRESS": "train-0.train:29501"}
    expected = ["--machine_rank", "1", "--main_process_ip", "train-0.train", "--main_process_port", "29501"]
    assert rendezvous(variables) == expected
    assert rendezvous({**variables, "AIRTUNE_NODE_RANK": "2"})[1] == "2"
    with pytest.raises(SettingsError) as caught:
        rendezvous({})
    assert [problem.where for problem in caught.value.problems] == ["AIRTUNE_NODE_RANK", "AIRTUNE_MAIN_ADDRESS"]


@pytest.mark.parametrize(
    ("said", "told", "code"),
    [
        ({0: "0", 1: "0"}, False, 0),
        ({0: "75", 1: "75"}, True, 75),
        ({0: "75", 1: ""}, True, 75),  # one did not manage in time
        ({0: "peer", 1: ""}, False, KILLED),  # kill -9 of the second
        ({0: "75", 1: ""}, False, KILLED),  # the launcher then told the first to stop
        ({0: "", 1: "71"}, False, 71),  # the second ran out of memory, the first hung until it was ended
        ({0: "peer", 1: "65"}, False, 65),
        ({0: "peer", 1: "peer"}, False, 76),  # of several nodes, another one's process died
        ({0: "peer", 1: "peer"}, True, 75),
        ({0: "0"}, False, 70),  # the second never began
        ({}, True, 75),
    ],
)
def test_of_several_processes_the_reason_counts_and_not_what_followed_from_it(
    said: dict[int, str], told: bool, code: int
) -> None:
    assert ending(said, launcher=1, told=told, processes=2) == code


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
