"""Work that is spread over processes, its results in order, and no more of it in memory than is being worked on.

Not an executor of the standard library: that of Python 3.11 hands jobs out through one pipe, and when a process is
killed while a large job is in it, nobody ever reads the rest and the caller waits for ever. Here every process has a
pipe of its own and gets its next job when it is idle, so that its end is seen wherever it comes.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Final, TypeVar

from airtune.errors import DefectError, Problem

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess
    from types import TracebackType

Job = TypeVar("Job")
Result = TypeVar("Result")

MOST_PROCESSES: Final = 8
"""More gain nothing: one process hands out the work and puts the results together."""

_AHEAD: Final = 3
"""Jobs a process that are under way or done and not yet asked for."""

_LOOK_EVERY_S: Final = 1.0


class Crew:
    """Some processes that work for this one; a context manager. They start when there is work worth starting them for.

    Args:
        processes: how many; None: one a core. With one or none the work is done in this process.
    """

    def __init__(self, processes: int | None = None) -> None:
        cores = len(os.sched_getaffinity(0)) if processes is None else processes
        self.processes = min(cores, MOST_PROCESSES)
        self._started: list[_Worker] = []
        self._idle: list[_Worker] = []

    def __enter__(self) -> Crew:
        return self

    def each(self, function: Callable[[Job], Result], jobs: Iterable[Job], *, spread: bool = True) -> Iterator[Result]:
        """The results of all jobs, in the order of the jobs.

        Args:
            function: of a module, so that another process can import it; what it raises is raised here.
            jobs: each is pickled, and taken from here only shortly before it is worked on.
            spread: whether there is enough work to start processes for, which takes half a second.

        Raises:
            DefectError: one of the processes was killed.
        """
        if not spread or self.processes < 2 or not self._start():
            yield from map(function, jobs)
            return
        rest = iter(jobs)
        busy: dict[Any, tuple[_Worker, int]] = {}
        done: dict[int, Result] = {}
        given, asked, more = 0, 0, True
        try:
            while more or busy or done:
                while more and self._idle and given < asked + _AHEAD * len(self._started):
                    try:
                        job = next(rest)
                    except StopIteration:
                        more = False
                        break
                    worker = self._idle.pop()
                    worker.give(function, job)
                    busy[worker.pipe] = worker, given
                    given += 1
                if asked in done:
                    yield done.pop(asked)
                    asked += 1
                    continue
                for pipe in wait(list(busy)):
                    worker, number = busy.pop(pipe)
                    result = worker.take()
                    self._idle.append(worker)
                    done[number] = result
        finally:
            for worker, _ in busy.values():  # whoever asked for no more, or an error: the next ones start afresh
                self._dismiss(worker)

    def begin(self, function: Callable[[Job], Result], job: Job, *, spread: bool = True) -> Callable[[], Result]:
        """Begin a job that is done beside other work.

        Args:
            function: as for :meth:`each`.
            job: likewise.
            spread: likewise; otherwise it is done when its result is asked for.

        Returns:
            Gives the result, once, waiting for it where it has to.
        """
        if not spread or self.processes < 2 or not self._start():
            return lambda: function(job)
        worker = self._idle.pop()
        worker.give(function, job)

        def result() -> Result:
            found: Result = worker.take()
            self._idle.append(worker)
            return found

        return result

    def thin(self) -> None:
        """End those that are idle: no more than what is under way is wanted of the crew for now."""
        for worker in self._idle:
            self._dismiss(worker)
        self._idle = []

    def _start(self) -> bool:
        """Have all processes; whether one of them is idle."""
        while len(self._started) < self.processes:
            worker = _Worker()
            self._started.append(worker)
            self._idle.append(worker)
        return bool(self._idle)

    def _dismiss(self, worker: _Worker) -> None:
        worker.stop()
        self._started.remove(worker)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._started:
            worker.stop()
        self._started, self._idle = [], []


class _Worker:
    """One process, and the pipe to it."""

    def __init__(self) -> None:
        # A fresh process: a copy of this one would come with locks that its threads held at that moment.
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_work, args=(theirs, os.getpid()), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    def give(self, function: Callable[[Job], Result], job: Job) -> None:
        """Hand a job to it, which has none."""
        try:
            self.pipe.send((function, job))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise _killed() from error

    def take(self) -> Any:
        """The result of its job, waiting for it."""
        try:
            succeeded, found = self.pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            raise _killed() from error
        if not succeeded:
            raise found
        return found

    def stop(self) -> None:
        """End it, whatever it is doing."""
        self.pipe.close()
        self._process.terminate()
        self._process.join()
        self._process.close()


def _killed() -> DefectError:
    return DefectError(
        Problem(
            "validation",
            "a process that was working on the dataset was killed",
            fix="give it more memory: that is why systems kill",
        )
    )


def _work(pipe: Connection, parent: int) -> None:
    # What is made here is read once and gone, and hardly ever holds itself: looking for what does takes a fifth of the
    # time.
    gc.freeze()
    gc.set_threshold(200_000, 10, 10)
    # Ctrl-C at a terminal reaches every process: the one that hands out the work says when it is over.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the other end is closed: there is no more work
        while True:
            function, job = pipe.recv()
            pipe.send(_result(function, job))


def _result(function: Callable[[Any], Any], job: Any) -> tuple[bool, Any]:
    try:
        return True, function(job)
    except Exception as error:
        error.add_note("".join(traceback.format_tb(error.__traceback__)))  # which a pickle leaves behind
        return False, error


def _end_with(parent: int) -> None:
    """Where the parent is killed, nobody tells its children."""
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os._exit(1)
