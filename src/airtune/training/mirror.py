"""Copies what training writes to a remote store while training goes on."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from airtune.errors import AirtuneError
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

_EVERY_S: Final = 5.0
_LARGE_EVERY_S: Final = 30.0
_LARGE_BYTES: Final = 1_000_000


class Mirror:
    """A thread that pushes the training folder every few seconds, and checkpoints as they are made.

    For a run directory on this machine's disk there is nothing to copy and no thread. While the thread runs it is
    the only one that pushes. A store that is away costs nothing but warnings: training goes on, and what is missing
    is copied later.

    Args:
        run: the run directory.
        say: where lines go.
        active: False: another process copies.
    """

    def __init__(self, run: RunDirectory, say: Callable[[str], None], *, active: bool = True) -> None:
        self._run = run
        self._say = say
        self._jobs: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._failing = False
        self._thread: threading.Thread | None = None
        if active and not run.uri.startswith("file:"):
            self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
            self._thread.start()

    def checkpoint(self, step: int) -> None:
        """Copy the checkpoint of this step soon."""
        if self._thread is not None:
            self._jobs.put(("push", layout.checkpoint(step)))

    def remove(self, step: int) -> None:
        """Remove the checkpoint of this step from the store soon."""
        if self._thread is not None:
            self._jobs.put(("remove", layout.checkpoint(step)))

    def close(self) -> None:
        """Ends the thread after everything asked for was tried; call :meth:`RunDirectory.push` for what must be."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        pushed_at = time.monotonic()
        while True:
            try:
                job = self._jobs.get(timeout=1.0)
            except queue.Empty:
                if time.monotonic() - pushed_at >= self._interval():
                    self._attempt("push", layout.TRAINING)
                    pushed_at = time.monotonic()
                continue
            if job is None:
                self._attempt("push", layout.TRAINING)
                return
            self._attempt(*job)

    def _attempt(self, action: str, name: str) -> None:
        try:
            if action == "remove":
                self._run.store.delete_tree(name)
            elif (self._run.workspace / name).exists():  # a checkpoint may have been rotated away meanwhile
                self._run.push(name)
        except (AirtuneError, OSError) as error:
            if not self._failing:
                self._say(f"warning: {name} could not be copied to the store ({error}); training goes on")
            self._failing = True
        else:
            self._failing = False

    def _interval(self) -> float:
        metrics = Path(self._run.workspace, layout.TRAINING_METRICS)
        large = metrics.is_file() and metrics.stat().st_size > _LARGE_BYTES
        return _LARGE_EVERY_S if large else _EVERY_S
