"""Asks the store without ever waiting long: a page says that the store is away, the API server never hangs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

WAIT_S: Final = 5.0
"""How long a page waits for the store."""

KEPT_S: Final = 2.0
"""How long an answer serves for the same question, so that many viewers are one reader of the store."""

_THREADS: Final = 8


class StoreAwayError(Exception):
    """The store did not answer in time."""


class Asking:
    """Questions to the store in threads of their own: each asked once at a time, whoever waits for the answer.

    The threads are daemons: one that hangs keeps neither a request nor the end of the API server waiting.

    Args:
        wait_s: how long a caller waits.
        threads: how many questions may be open; more are refused.
    """

    def __init__(self, *, wait_s: float = WAIT_S, threads: int = _THREADS) -> None:
        self._wait_s = wait_s
        self._threads = threads
        self._lock = threading.Lock()
        self._open: dict[Hashable, tuple[Future[Any], float]] = {}

    async def ask(self, question: Hashable, work: Callable[[], Answer]) -> Answer:
        """What ``work`` returns or raises, from a thread.

        Raises:
            StoreAwayError: it takes longer than ``wait_s`` (it goes on, and serves a later caller), or too many
                questions are open.
        """
        future = self._future(question, work)
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), self._wait_s)
        except TimeoutError:
            raise StoreAwayError(f"the store did not answer within {self._wait_s:g} s") from None

    def _future(self, question: Hashable, work: Callable[[], Answer]) -> Future[Answer]:
        now = time.monotonic()
        with self._lock:
            for key, (future, asked) in list(self._open.items()):
                if future.done() and now - asked > KEPT_S:
                    del self._open[key]
            known = self._open.get(question)
            if known is not None:
                return known[0]
            if sum(not future.done() for future, _ in self._open.values()) >= self._threads:
                raise StoreAwayError("the store is slow: too many questions are waiting for it")
            future = Future()
            self._open[question] = (future, now)
        threading.Thread(target=_answer, args=(future, work), name="airtune-store", daemon=True).start()
        return future


def in_parallel(work: Callable[[Item], Answer], items: Iterable[Item], *, threads: int = _THREADS) -> list[Answer]:
    """``[work(item) for item in items]`` in daemon threads; the first error is raised."""
    waiting: SimpleQueue[tuple[int, Item]] = SimpleQueue()
    for numbered in enumerate(items):
        waiting.put(numbered)
    count = waiting.qsize()
    answers: dict[int, Answer] = {}
    errors: list[BaseException] = []

    def run() -> None:
        while not errors:
            try:
                place, item = waiting.get_nowait()
            except Empty:
                return
            try:
                answers[place] = work(item)
            except BaseException as error:
                errors.append(error)

    workers = [threading.Thread(target=run, name="airtune-store", daemon=True) for _ in range(min(threads, count))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return [answers[place] for place in range(count)]


def _answer(future: Future[Answer], work: Callable[[], Answer]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)
