"""Work on many items in a few threads: bounded in memory, and gone at once when it is interrupted."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD: Final = 4
"""Items a thread that are handed out ahead: nobody waits, and a million items are not a million jobs."""


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[tuple[Item, Result]]:
    """``work`` for every item, several at a time; each item with its result, in the order in which they are ready.

    The threads are daemons: after Ctrl-C the process does not wait for a server that has stopped answering.

    Args:
        work: called in a thread.
        items: taken as they are needed.
        threads: how many work at a time.

    Raises:
        BaseException: whatever ``work`` raises, as soon as it does; what has not begun by then never does.
    """
    todo: queue.SimpleQueue[tuple[Item] | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Item, Result | None, BaseException | None]] = queue.SimpleQueue()

    def toil() -> None:
        while (job := todo.get()) is not None:
            try:
                done.put((job[0], work(job[0]), None))
            except BaseException as error:
                done.put((job[0], None, error))

    for number in range(threads):
        threading.Thread(target=toil, name=f"airtune-{number}", daemon=True).start()
    rest, out = iter(items), 0
    try:
        while True:
            while out < _AHEAD * threads:
                try:
                    todo.put((next(rest),))
                except StopIteration:
                    break
                out += 1
            if not out:
                return
            item, result, error = done.get()
            out -= 1
            if error is not None:
                raise error
            yield item, result  # type: ignore[misc]
    finally:
        while True:  # what has not begun need not
            try:
                todo.get_nowait()
            except queue.Empty:
                break
        for _ in range(threads):
            todo.put(None)
