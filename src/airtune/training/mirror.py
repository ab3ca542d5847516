"""Copies what training writes to a remote store while training goes on."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from airtune.errors import AirtuneError, StoreError
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

_EVERY_S: Final = 5.0
_LARGE_EVERY_S: Final = 30.0
_LARGE_BYTES: Final = 1_000_000


Job = tuple[str, str]
"""What to do (push, remove) with which name."""


class Mirror:
    """A thread that pushes the training folder every few seconds, and checkpoints as they are made.

    For a run directory on this machine's disk there is nothing to copy and no thread. While the thread runs it is
    the only one that pushes. A store that is away costs nothing but warnings: training goes on, and what could not be
    done is done later, in its order.

    Args:
        run: the run directory.
        say: where lines go.
        active: False: another process copies.
    """

    def __init__(self, run: RunDirectory, say: Callable[[str], None], *, active: bool = True) -> None:
        self._run = run
        self._say = say
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._away = False
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
        everything: Job = ("push", layout.TRAINING)
        waiting: list[Job] = []
        pushed_at = tried_at = time.monotonic()
        closing = False
        while not closing:
            with contextlib.suppress(queue.Empty):
                job = self._jobs.get(timeout=1.0)
                closing = job is None
                waiting += [job] if job is not None else []
            now = time.monotonic()
            if (closing or now - pushed_at >= self._interval()) and everything not in waiting:
                waiting.append(everything)
                pushed_at = now
            # A store that is away is asked again now and then, not for every checkpoint.
            if closing or not self._away or now - tried_at >= _EVERY_S:
                tried_at = now
                while waiting and self._done(*waiting[0]):
                    del waiting[0]

    def _done(self, action: str, name: str) -> bool:
        """Whether nothing of a job is left to do; False while the store is away."""
        try:
            if action == "remove":
                self._run.store.delete_tree(name)
            elif (self._run.workspace / name).exists():  # a checkpoint may have been rotated away meanwhile
                self._run.push(name)
        except StoreError as error:
            if not self._away:
                self._say(f"warning: {name} could not be copied to the store ({error}); training goes on")
            self._away = True
            return False
        except (AirtuneError, OSError) as error:  # refused, or rotated away while it was read
            self._say(f"warning: {name} is not copied to the store ({error}); training goes on")
            return True
        if self._away:
            self._say("the store answers again: what was missing is copied")
        self._away = False
        return True

    def _interval(self) -> float:
        metrics = Path(self._run.workspace, layout.TRAINING_METRICS)
        large = metrics.is_file() and metrics.stat().st_size > _LARGE_BYTES
        return _LARGE_EVERY_S if large else _EVERY_S
