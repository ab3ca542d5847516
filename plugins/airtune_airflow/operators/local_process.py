"""A stage as a child process on the worker: output line by line, stopped with its task, never two of one run."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

MARKER: Final = "AIRTUNE_STAGE_PROCESS"
"""Environment variable by which a stage's processes are found again, whoever their parent is by then."""

_LONGEST_LINE: Final = 16 * 1024
_AFTER_GRACE_S: Final = 15.0
_LOOK_EVERY_S: Final = 1.0

log = logging.getLogger(__name__)


class LocalProcess:
    """One stage's process and everything below it.

    It runs under :mod:`airtune.guard`, in a session of its own: the guard tells it to stop, gives it its grace, and
    does so also when this process is killed by kill -9.

    Args:
        argv: the stage's command.
        run_uri: the run.
        stage: which of its stages; with ``run_uri`` it names what must not run twice.
        grace_s: seconds that a stage which is told to stop may take to save its work.
        env: variables added to the stage's environment.
    """

    def __init__(
        self, argv: Sequence[str], *, run_uri: str, stage: str, grace_s: float, env: Mapping[str, str] | None = None
    ) -> None:
        self.argv = list(argv)
        self.stopped = False
        self._marker = hashlib.sha256(f"{run_uri} {stage}".encode()).hexdigest()[:24]
        self._grace_s = grace_s
        self._env = dict(env or {})
        self._child: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def run(self, on_line: Callable[[str], None]) -> int:
        """Run the stage to its end.

        Args:
            on_line: called with each line of its output.

        Returns:
            Its exit code, 128 + N for signal N.
        """
        self._end_earlier()
        if self.stopped:
            return 128 + signal.SIGTERM
        parent = os.getppid()
        guard = [sys.executable, "-m", "airtune.guard", "--grace", f"{self._grace_s:g}"]
        child = subprocess.Popen(
            [*guard, "--with-parent", str(os.getpid()), "--", *self.argv],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._child = child
        try:
            while self._read(child, on_line):
                if os.getppid() != parent:
                    log.error("The process that supervises this task has ended: stopping the stage")
                    self.stop()
            return child.wait()
        finally:  # also when this task is told to end by an exception: a timeout
            self._end(child, on_line)

    def stop(self) -> None:
        """Tell the stage to save its work and end; returns at once, may be called from a signal handler."""
        self.stopped = True
        if self._child is not None and self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child.pid, signal.SIGTERM)

    def _read(self, child: subprocess.Popen[bytes], on_line: Callable[[str], None]) -> bool:
        """Pass on what there is to read, waiting a second at most; returns whether more can come."""
        if child.stdout is None or child.stdout.closed:
            return False
        descriptor = child.stdout.fileno()
        if not select.select([descriptor], [], [], _LOOK_EVERY_S)[0]:
            return True
        chunk = os.read(descriptor, 64 * 1024)
        lines = (self._rest + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop()
        if not chunk or len(self._rest) > _LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            text = line.decode("utf-8", errors="replace").rstrip()
            if text:
                on_line(text if len(text) <= _LONGEST_LINE else text[:_LONGEST_LINE] + " ...")
        return bool(chunk)

    def _end(self, child: subprocess.Popen[bytes], on_line: Callable[[str], None]) -> None:
        """Leave nothing behind, whatever made us leave."""
        if child.poll() is None:
            self.stop()
            until = time.monotonic() + self._grace_s + _AFTER_GRACE_S
            while child.poll() is None and time.monotonic() < until:
                if not self._read(child, on_line):
                    time.sleep(0.1)
        if child.poll() is None:
            child.kill()
            child.wait()
            _kill(_marked(self._marker))
        if child.stdout is not None:
            child.stdout.close()

    def _end_earlier(self) -> None:
        """End what an earlier try of this stage of this run has left running: two trainers must not share a run."""
        earlier = _marked(self._marker)
        if not earlier:
            return
        ids = {process.pid for process in earlier}
        log.warning("An earlier try of this stage still runs (processes %s): it is told to stop", sorted(ids))
        for process in earlier:
            with contextlib.suppress(psutil.Error):
                if process.ppid() not in ids:  # the topmost: it tells those below, who then save their work
                    process.terminate()
        until = time.monotonic() + self._grace_s + _AFTER_GRACE_S
        while (left := _marked(self._marker)) and time.monotonic() < until and not self.stopped:
            time.sleep(0.2)
        if left and not self.stopped:
            log.warning("It did not end in time: killed (processes %s)", sorted(process.pid for process in left))
            _kill(left)

    def _environment(self) -> dict[str, str]:
        """The worker's environment without Airflow's own settings and secrets, which no stage needs."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "_AIRFLOW"))}
        programs = str(Path(sys.executable).parent)
        path = os.pathsep.join([programs, kept.get("PATH") or os.defpath])
        return {**kept, "PATH": path, "PYTHONUNBUFFERED": "1", **self._env, MARKER: self._marker}


def _marked(marker: str) -> list[psutil.Process]:
    """Running processes of ours that carry the marker."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == marker and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return [process for process in found if process.pid != os.getpid()]


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(list(processes), timeout=5)
