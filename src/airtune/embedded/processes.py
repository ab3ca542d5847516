"""Starts background processes and ends them again, down to the last child.

A process is known by its pid *and* its start time, so that a number which the kernel has given to
somebody else is never signalled. Everything that is started carries :data:`MARKER` in its environment,
and children inherit it: whatever is left after a parent was killed with -9 is found by that mark.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

MARKER: Final = "AIRTUNE_EMBEDDED"
"""Name of the environment variable that says to which AIRTUNE_HOME a process belongs."""

_SAME_START_S: Final = 0.05
"""Start times are kept by the kernel in ticks of 10 ms; this much may be lost in writing them down."""


@dataclass(frozen=True)
class Started:
    """A process that was started.

    Attributes:
        name: what it is, for people: ``scheduler``.
        pid: its process id, also the id of its session, since each is started as a session leader.
        created: its start time, seconds since 1970, as psutil reports it.
        log: the file that takes its output.
    """

    name: str
    pid: int
    created: float
    log: str

    def process(self) -> psutil.Process | None:
        """The process while it runs; None once it has ended, also when its number was given away since."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.created) < _SAME_START_S
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None

    def to_json(self) -> dict[str, Any]:
        """The record as JSON."""
        return {"name": self.name, "pid": self.pid, "created": self.created, "log": self.log}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Started:
        """The record that :meth:`to_json` wrote."""
        return cls(str(value["name"]), int(value["pid"]), float(value["created"]), str(value["log"]))


def start(name: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> Started:
    """Starts a process in a session of its own, with its output appended to a file.

    A session of its own: a Ctrl-C at the terminal reaches only the command in front, which then ends
    the others in the right order.

    Raises:
        OSError: the program cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            list(argv),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,  # database and logs are their owner's
        )
    try:
        created = psutil.Process(child.pid).create_time()
    except psutil.Error:  # ended already: the caller finds out when it looks for it
        created = time.time()
    child.returncode = 0  # not ours to wait for any more: keeps Popen from warning that it still runs
    return Started(name, child.pid, created, str(log))


def wait(started: Started, limit_s: float) -> int | None:
    """Waits for a process that this process has started.

    Returns:
        Its exit code (negative: the number of the signal that ended it); None when it still runs after ``limit_s``.
    """
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        pid, status = os.waitpid(started.pid, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    return None


def family(started: Iterable[Started], marker: str) -> list[psutil.Process]:
    """Every running process that belongs to an embedded airtune, whoever its parent is by now.

    Args:
        started: what was started directly.
        marker: the value of :data:`MARKER` that all of them inherited; it finds them without any record, too.
    """
    found: dict[int, psutil.Process] = {}
    sessions: set[int] = set()
    for record in started:
        process = record.process()
        if process is None:
            continue
        sessions.add(record.pid)
        found[process.pid] = process
        with contextlib.suppress(psutil.Error):
            found.update((child.pid, child) for child in process.children(recursive=True))
    for process in psutil.process_iter():
        if process.pid not in found and (session(process.pid) in sessions or _marked(process, marker)):
            found[process.pid] = process
    found.pop(os.getpid(), None)
    return [process for process in found.values() if _running(process)]


def stop(processes: Iterable[psutil.Process], *, number: signal.Signals, wait_s: float) -> list[psutil.Process]:
    """Signals processes and waits for them.

    Returns:
        Those that still run after ``wait_s`` seconds.
    """
    asked = list(processes)
    tell(asked, number)
    until = time.monotonic() + wait_s
    while (left := still_running(asked)) and time.monotonic() < until:
        time.sleep(0.05)
    return left


def tell(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Signals processes; those that have ended are passed over, also where their number was given away since."""
    for process in processes:
        with contextlib.suppress(psutil.Error):  # psutil checks the start time before it signals
            process.send_signal(number)


def still_running(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those of the processes that still run; the others are collected, where it was this process that started them."""
    return [process for process in processes if _running(process)]


def _running(process: psutil.Process) -> bool:
    try:
        if not process.is_running():
            return False
        with contextlib.suppress(ChildProcessError):  # not a child, or collected before
            # A child that looks dead may have threads that are not: it has ended when it can be collected.
            return os.waitpid(process.pid, os.WNOHANG) == (0, 0)
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def session(pid: int) -> int | None:
    """The id of the session a process belongs to; None when it has ended."""
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _marked(process: psutil.Process, marker: str) -> bool:
    try:
        return process.environ().get(MARKER) == marker
    except (psutil.Error, OSError):
        return False
