"""The trainer as a scheduler starts it, killed and told to stop in the middle: real processes, real signals."""

from __future__ import annotations

import json
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

from airtune.launch import KILLED, TRAINING, accelerate_argv

pytestmark = pytest.mark.training

STEPS = 60
SETTINGS: dict[str, Any] = {
    "epochs": 20, "train": 12, "batch_size": 4, "lora_dropout": 0.1, "learning_rate_schedule": "linear",
    "checkpoint_every_steps": 5, "checkpoints_kept": 2, "learning_rate": 5e-4,
}  # fmt: skip


class Launched:
    """The stage's command, started as an operator starts it."""

    def __init__(self, directory: Any, log: Path) -> None:
        self.directory = directory
        argv = accelerate_argv(TRAINING, directory.uri, gpus=0, python=sys.executable)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(argv, env=environment, stdout=output, stderr=subprocess.STDOUT)

    def step(self) -> int:
        """The latest step on record."""
        path = self.directory.workspace / "training" / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.is_file() else []
        return int(json.loads(lines[-1])["step"]) if lines and lines[-1].endswith("}") else 0

    def wait_for_step(self, step: int) -> None:
        """Returns when this step is on record."""
        until = time.monotonic() + 240
        while self.step() < step:
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < until, "the trainer does not get there"
            time.sleep(0.005)

    def trainer(self) -> int:
        """The process that trains."""
        record = json.loads((self.directory.workspace / "status" / "train.json").read_text())
        return int(record["process"])

    def end(self) -> int:
        """The exit code, when it has ended."""
        return self.process.wait(timeout=240)

    def output(self) -> str:
        """What it has printed, when it has ended."""
        return self.log.read_text()

    def kill(self) -> None:
        """Ends it and everything below it, when it still runs."""
        if self.process.poll() is None:
            below = psutil.Process(self.process.pid).children(recursive=True)
            for pid in [self.process.pid, *(child.pid for child in below)]:
                os.kill(pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[[Any], Launched]]:
    started: list[Launched] = []

    def start(directory: Any) -> Launched:
        started.append(Launched(directory, tmp_path / f"launched-{len(started)}.txt"))
        return started[-1]

    yield start
    for each in started:
        each.kill()


def steps_on_record(directory: Any) -> list[int]:
    lines = (directory.workspace / "training" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def checkpoints(directory: Any) -> list[int]:
    folder: Path = directory.workspace / "checkpoints"
    return sorted(int(path.parent.name.removeprefix("step-")) for path in folder.glob("step-*/COMPLETE"))


def test_15_a_killed_trainer_resumes_and_one_told_to_stop_saves_and_both_end_as_if_nothing_had_happened(
    make_run: Callable[..., Any], launch: Callable[[Any], Launched], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from airtune.training.__main__ import train
    from airtune.training.stopping import StopRequest

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole, cut = make_run(**SETTINGS), make_run(**SETTINGS)
        assert train(whole.uri, StopRequest())["steps"] == STEPS
    finally:
        torch.set_num_threads(threads)

    # kill -9 of the trainer between two checkpoints: the launcher's own exit code would be 1
    first = launch(cut)
    first.wait_for_step(8)
    os.kill(first.trainer(), signal.SIGKILL)
    assert first.end() == KILLED == 137, first.output()
    saved = checkpoints(cut)
    assert saved
    assert max(saved) < STEPS
    assert not (cut.workspace / "model_adapter").exists()
    # an incomplete newest checkpoint, as a kill in the middle of writing would leave it on a store without renames
    (cut.workspace / "checkpoints" / f"step-{STEPS - 1}").mkdir()

    # the retry resumes by itself, and is told to stop: the signal goes to the one process that was started
    second = launch(cut)
    second.wait_for_step(max(saved) + 7)
    second.process.send_signal(signal.SIGTERM)
    assert second.end() == 75
    output = second.output()
    assert f"resuming at step {max(saved)} of {STEPS}" in output
    assert "told to stop (SIGTERM); checkpoint of step" in output
    stopped_at = max(checkpoints(cut))
    assert stopped_at == max(steps_on_record(cut)) < STEPS
    assert stopped_at % 5 != 0 or stopped_at > max(saved) + 5  # made because it was told to, not because it was due

    # the third ends with the same number of steps and the very same weights
    third = launch(cut)
    assert third.end() == 0, third.output()
    result = cut.read_json("training/result.json")
    assert result["resumed_from"] == stopped_at
    assert result["steps"] == result["planned_steps"] == STEPS
    assert steps_on_record(cut) == list(range(1, STEPS + 1))
    name = "model_adapter/adapter_model.safetensors"
    assert (cut.workspace / name).read_bytes() == (whole.workspace / name).read_bytes()
    assert cut.read_json("status/train.json")["try"] == 3
