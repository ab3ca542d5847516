"""The trainer's command, started as an operator starts it: real processes, to be told to stop, or killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from airtune.launch import TRAINING, accelerate_argv


class Launched:
    """One started command.

    Args:
        directory: the run.
        log: takes what it prints.
        processes: how many train, on the CPU.
        sharded: whether they hold one model together.
        starved: ``RANK:BYTES``: which of them has how little memory (:mod:`starved_peer`).
    """

    def __init__(
        self, directory: Any, log: Path, *, processes: int = 1, sharded: bool = False, starved: str | None = None
    ) -> None:
        self.directory = directory
        self.log = log
        argv = accelerate_argv(
            TRAINING, directory.uri, gpus=0, processes=processes, sharded=sharded, python=sys.executable
        )
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if starved is not None:
            argv[argv.index(TRAINING)] = "starved_peer"
            here = str(Path(__file__).parent)
            environment |= {"STARVED": starved, "PYTHONPATH": os.pathsep.join([here, *sys.path])}
        with log.open("wb") as output:
            self.process = subprocess.Popen(argv, env=environment, stdout=output, stderr=subprocess.STDOUT)

    def step(self) -> int:
        """The latest step on record."""
        path = self.directory.workspace / "training" / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.is_file() else []
        return int(json.loads(lines[-1])["step"]) if lines and lines[-1].endswith("}") else 0

    def wait_for_step(self, step: int) -> None:
        """Returns when this step is on record."""
        self.wait_until(lambda: self.step() >= step)

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Returns when this is so."""
        until = time.monotonic() + 240
        while not true():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < until, "the trainer does not get there"
            time.sleep(0.005)

    def trainer(self) -> int:
        """The process that trains, of several the one that writes."""
        record = json.loads((self.directory.workspace / "status" / "train.json").read_text())
        return int(record["process"])

    def trainers(self) -> list[int]:
        """All processes that train."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return [each.pid for each in below if each.environ().get("RANK") and "airtune.training" in each.cmdline()]

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


Launch = Callable[..., Launched]


@contextmanager
def launching(folder: Path) -> Iterator[Launch]:
    """Gives a function that starts commands; what is left of them at the end is killed."""
    started: list[Launched] = []

    def start(directory: Any, **options: Any) -> Launched:
        started.append(Launched(directory, folder / f"launched-{len(started)}.txt", **options))
        return started[-1]

    try:
        yield start
    finally:
        for each in started:
            each.kill()


def rows_of(directory: Any, name: str = "metrics") -> list[dict[str, Any]]:
    """The rows of ``training/<name>.jsonl``."""
    path = directory.workspace / "training" / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def checkpoints_of(directory: Any) -> list[int]:
    """The steps of the run's complete checkpoints."""
    folder: Path = directory.workspace / "checkpoints"
    return sorted(int(path.parent.name.removeprefix("step-")) for path in folder.glob("step-*/COMPLETE"))
