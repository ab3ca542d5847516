"""Stops an embedded airtune in an order in which work can still be saved, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import psutil

from airtune.embedded import processes, seaweedfs
from airtune.embedded.processes import Started
from airtune.errors import DefectError, Problem

Say = Callable[[str], None]
"""Takes a line for the person who waits."""

SCHEDULER: Final = "scheduler"

_LOOK_AGAIN_S: Final = 0.3
_AIRFLOW_WAIT_S: Final = 2.0
_KILL_LIMIT_S: Final = 10.0


def stop_everything(started: Sequence[Started], marker: str, say: Say, *, grace_s: float) -> int:
    """Stops the stages, then Airflow, then the S3 server, then kills what is left.

    Args:
        started: what was started directly, as far as it is on record.
        marker: what every process of it carries in its environment, see :data:`processes.MARKER`.
        say: is told what is being waited for.
        grace_s: how long a stage that is at work may take to save it.

    Returns:
        How many processes there were.

    Raises:
        DefectError: some cannot be killed.
    """
    met = {process.pid for process in processes.family(started, marker)}
    if not met:
        return 0
    _stop_stages(started, marker, say, grace_s)
    s3 = [each for each in started if each.name == seaweedfs.NAME]
    s3_pids = {each.pid for each in s3}
    airflow = [process for process in processes.family(started, marker) if process.pid not in s3_pids]
    processes.stop(airflow, number=signal.SIGTERM, wait_s=_AIRFLOW_WAIT_S)
    for each in s3:
        seaweedfs.stop(each)
    until = time.monotonic() + _KILL_LIMIT_S
    while left := processes.family(started, marker):
        met.update(process.pid for process in left)
        processes.stop(left, number=signal.SIGKILL, wait_s=2)
        if time.monotonic() > until:
            names = ", ".join(f"{process.pid} {_name(process)}" for process in left)
            raise DefectError(Problem("airtune down", "some processes cannot be stopped", value=names))
    return len(met)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Lets a second Ctrl-C wait, so that stopping is never left half done."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    try:
        before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    except ValueError:  # not the main thread: signals do not arrive here
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop_stages(started: Sequence[Started], marker: str, say: Say, grace_s: float) -> None:
    """Has the scheduler begin nothing new and every stage save its work; the servers it is saved to still run.

    A task may be about to start its stage: so it is looked for again until the scheduler has seen all tasks end.
    """
    sessions = {each.pid for each in started}
    schedulers = [process for each in started if each.name == SCHEDULER and (process := each.process()) is not None]
    processes.tell(schedulers, signal.SIGTERM)
    told: set[int] = set()
    until = time.monotonic() + grace_s
    while True:
        stages = [
            process
            for process in processes.family(started, marker)
            if (session := processes.session(process.pid)) is not None and session not in sessions
        ]
        if not (stages or processes.still_running(schedulers)) or time.monotonic() > until:
            return
        # A stage's session is led by its guard, which tells the right ones below it; without it, all are told.
        leaders = {process.pid for process in stages} & {processes.session(process.pid) for process in stages}
        for process in stages:
            led = processes.session(process.pid) in leaders
            if process.pid not in told and (not led or process.pid in leaders):
                if not told:
                    say("a stage is at work: it is given time to save it")
                told.add(process.pid)
                processes.tell([process], signal.SIGTERM)
        time.sleep(_LOOK_AGAIN_S)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return "(ended)"
