"""Runs one command so that nothing of it is left behind.

``python -m airtune.guard [--grace S] [--with-parent PID] -- COMMAND ...``

It stands between whoever starts a stage (a task on a worker, the container runtime, a person) and the
stage's process, because none of them does all of this:

* A stop signal reaches the command, also as a container's first process, which ignores what it did not ask for.
  Only the command itself is told: it knows which of its children to tell. When it dies without telling them, they
  come home to the guard and are told by it.
* The command gets ``--grace`` seconds to save its work; then whatever is left is killed.
* When the one who started the guard dies (``--with-parent``), even by kill -9, the guard takes it for a stop
  signal: no trainer goes on without a task that knows of it.
* Output goes through the guard. When nobody reads it any more, it is thrown away, so that a trainer in the middle
  of a checkpoint does not die of a broken pipe.
* The guard ends when the last process of the command has ended, however that one was started.

It ends with the command's exit code, 128 + N for signal N, and with 75 when the command was told to stop and one of
its processes ended with 75 (checkpoint written), whatever the launcher above that process made of it.

Only the standard library is imported: this process lives as long as the stage does.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

DEFAULT_GRACE_S: Final = 120.0
"""How long a stopped command may take, in seconds, where nobody says."""

GRACE: Final = "AIRTUNE_GRACE_SECONDS"
"""The variable that says it. The guard sets it for its command, so that a guard below has no other opinion."""

CANNOT_START: Final = 127
"""Exit code when the command does not exist, as shells have it."""

_PREEMPTED: Final = 75  # airtune.errors.ExitCode.PREEMPTED; not imported, to stay small
_LEFTOVERS_GRACE_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.2
_CHUNK: Final = 64 * 1024
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36


class Guard:
    """One guarded command.

    Args:
        command: program and arguments.
        grace_s: seconds between a stop signal and SIGKILL; None: as ``AIRTUNE_GRACE_SECONDS`` has it, or 120.
        parent: process id whose death counts as a stop signal, or None.
        environment: of the command; None for this process's own.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        grace_s: float | None = None,
        parent: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = list(command)
        self._grace_s = grace_of_environment() if grace_s is None else grace_s
        self._environment = {**(os.environ if environment is None else environment), GRACE: f"{self._grace_s:g}"}
        self._parent = parent
        self._ended: dict[int, int] = {}
        self._kill_at: float | None = None
        self._killed = False
        self._told_by: str | None = None
        self._started = False
        self._output_open = True
        self._unsaid: list[str] = []
        self._told: set[int] = set()
        self._look_again_at = 0.0

    @property
    def told(self) -> bool:
        """Whether the command was told to stop."""
        return self._told_by is not None

    def run(self) -> int:
        """Run the command to its end; returns the exit code described above."""
        wakeup_read, wakeup_write = os.pipe()
        for descriptor in (wakeup_read, wakeup_write):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _STOP_SIGNALS:
            signal.signal(number, self._on_stop_signal)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        if self._parent is not None:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        try:
            child = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=_die_with_parent(os.getpid()),
                close_fds=True,
            )
        except OSError as error:
            self._say(f"cannot start {self._command[0]}: {error.strerror}")
            self._say_all()
            return CANNOT_START
        self._started = True
        if self._told_by is not None:  # told between the two: the command has not heard of it
            self._tell()
        if self._parent is not None and os.getppid() != self._parent:  # it died before we asked to be told
            self._stop("the process that started this one has ended")
        if child.stdout is None:  # pragma: no cover - a pipe was asked for
            raise RuntimeError("no pipe to the command")
        self._relay(child.stdout.fileno(), wakeup_read, child.pid)
        child.returncode = 0  # collected by _reap: keeps Popen from asking for it again
        return self._exit_code(child.pid)

    def _relay(self, pipe: int, wakeup: int, main: int) -> None:
        """Copy output and watch processes until none is left."""
        os.set_blocking(pipe, False)
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            selector.register(wakeup, selectors.EVENT_READ)
            piped = True
            while True:
                for key, _ in selector.select(self._timeout()):
                    if key.fd == wakeup:
                        _drain(wakeup)
                    elif not self._copy(pipe):
                        selector.unregister(pipe)
                        piped = False
                self._say_all()
                if self._reap():
                    break
                if main in self._ended:
                    # A launcher that was killed leaves a trainer that may still save; a finished one leaves helpers.
                    seconds = _LEFTOVERS_GRACE_S if self._ended[main] == 0 else self._grace_s
                    self._stop("the command has ended and left processes behind", grace_s=seconds)
                if self._told_by is not None:
                    self._tell()
                self._kill_when_due()
            while piped and self._copy(pipe, until_empty=True):
                pass
            self._say_all()

    def _copy(self, pipe: int, *, until_empty: bool = False) -> bool:
        """Copy one chunk of output; returns whether more may come."""
        try:
            chunk = os.read(pipe, _CHUNK)
        except BlockingIOError:
            return not until_empty
        self._write(chunk)
        return bool(chunk)

    def _write(self, data: bytes) -> None:
        """Write to standard output; waits for a slow reader, but never past the time to kill."""
        descriptor = 1
        while data and self._output_open:
            try:
                if select.select([], [descriptor], [], 0.5)[1]:
                    data = data[os.write(descriptor, data[: select.PIPE_BUF]) :]  # a pipe takes that much at once
            except OSError:  # nobody reads any more, or it was closed
                self._output_open = False
            self._kill_when_due()

    def _say(self, text: str) -> None:
        """Have a line of our own printed by the main loop: signal handlers must not write."""
        self._unsaid.append(text)

    def _say_all(self) -> None:
        while self._unsaid:
            self._write(f"airtune: {self._unsaid.pop(0)}\n".encode())

    def _reap(self) -> bool:
        """Collect every process that has ended; returns whether none is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            self._ended[pid] = os.waitstatus_to_exitcode(status)
            self._told.discard(pid)

    def _on_stop_signal(self, number: int, _frame: FrameType | None) -> None:
        self._stop(signal.Signals(number).name)

    def _stop(self, why: str, *, grace_s: float | None = None) -> None:
        """Tell every process to end, once."""
        if self._told_by is not None:
            return
        seconds = self._grace_s if grace_s is None else grace_s
        self._told_by = why
        self._kill_at = time.monotonic() + seconds
        self._tell()
        self._say(f"told to stop ({why}); {seconds:g} s to save the work")

    def _tell(self) -> None:
        """Send SIGTERM to the command, and to processes whose parents have died; to each of them once."""
        if not self._started or time.monotonic() < self._look_again_at:
            return
        self._look_again_at = time.monotonic() + _LOOK_EVERY_S
        for pid, parent in _processes():
            if parent == os.getpid() and pid not in self._told:
                self._told.add(pid)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGTERM)

    def _kill_when_due(self) -> None:
        if self._kill_at is None or time.monotonic() < self._kill_at:
            return
        if not self._killed:
            self._say("still running after its time: killed")
        self._killed = True
        self._kill_at = time.monotonic() + 1.0  # again, for what was forked meanwhile
        for pid in _descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _timeout(self) -> float | None:
        return None if self._kill_at is None else min(_LOOK_EVERY_S, max(0.01, self._kill_at - time.monotonic()))

    def _exit_code(self, main: int) -> int:
        code = self._ended.get(main, 0)
        if code != 0 and self._told_by is not None and _PREEMPTED in self._ended.values():
            return _PREEMPTED
        return 128 - code if code < 0 else code


def grace_of_environment() -> float:
    """Seconds to save the work, as ``AIRTUNE_GRACE_SECONDS`` has it, or the default."""
    try:
        return max(0.0, float(os.environ.get(GRACE) or DEFAULT_GRACE_S))
    except ValueError:
        return DEFAULT_GRACE_S


def _die_with_parent(parent: int) -> Callable[[], None]:
    """What the new process does before it becomes the command: die when the guard does."""

    def prepare() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGKILL)

    return prepare


def _prctl(option: int, value: int) -> None:
    """Linux's prctl; without it (another system) the guard works but cannot see its parent die."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _drain(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, 4096):
            pass


def _processes() -> list[tuple[int, int]]:
    """(pid, parent) of every process that can be seen."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                found.append((int(entry.name), int(fields[1])))
    return found


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in _processes():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m airtune.guard", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--grace", type=float, metavar="S", help="seconds to save the work")
    parser.add_argument("--with-parent", type=int, metavar="PID", help="stop when this process, my parent, ends")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="after --: what to run")
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("say what to run after --")
    return Guard(command, grace_s=options.grace, parent=options.with_parent).run()


if __name__ == "__main__":
    raise SystemExit(main())
