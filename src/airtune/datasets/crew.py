"""Work that is spread over processes, its results in order, and no more of it in memory than is being worked on."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final, TypeVar

from airtune.errors import DefectError, Problem

if TYPE_CHECKING:
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
        self._pool: ProcessPoolExecutor | None = None

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
        if not spread or self.processes < 2:
            yield from map(function, jobs)
            return
        pool = self._started()
        ahead: deque[Future[Result]] = deque()
        try:
            for job in jobs:
                ahead.append(pool.submit(function, job))
                if len(ahead) >= _AHEAD * self.processes:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        except BrokenProcessPool as error:
            raise _killed() from error

    def begin(self, function: Callable[[Job], Result], job: Job, *, spread: bool = True) -> Callable[[], Result]:
        """Begin a job that is done beside other work.

        Args:
            function: as for :meth:`each`.
            job: likewise.
            spread: likewise; otherwise it is done when its result is asked for.

        Returns:
            Gives the result, waiting for it where it has to.
        """
        if not spread or self.processes < 2:
            return lambda: function(job)
        done = self._started().submit(function, job)

        def result() -> Result:
            try:
                return done.result()
            except BrokenProcessPool as error:
                raise _killed() from error

        return result

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Fresh processes: a copy of this one would come with locks that its threads held at that moment.
            self._pool = ProcessPoolExecutor(
                self.processes, mp_context=get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
            )
        return self._pool

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _killed() -> DefectError:
    return DefectError(
        Problem(
            "validation",
            "a process that was working on the dataset was killed",
            fix="give it more memory: that is why systems kill",
        )
    )


def _begin(parent: int) -> None:
    # What is made here is read once and gone, and hardly ever holds itself: looking for what does takes a fifth of the
    # time.
    gc.freeze()
    gc.set_threshold(200_000, 10, 10)
    # Ctrl-C at a terminal reaches every process: the one that hands out the work says when it is over.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """Where the parent is killed, nobody tells its children."""
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os._exit(1)
