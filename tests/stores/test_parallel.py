"""Work in threads: all of it, not all at once, and gone when it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from airtune.stores.parallel import in_threads


def test_every_item_comes_with_its_result() -> None:
    assert sorted(in_threads(lambda item: item * item, range(100), 4)) == [(item, item * item) for item in range(100)]
    assert list(in_threads(len, [], 4)) == []


def test_items_are_taken_as_they_are_needed() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(100_000):
            taken += 1
            yield item

    results = in_threads(lambda item: item, items(), 2)
    next(results)
    assert taken <= 10
    results.close()  # type: ignore[attr-defined]


def test_an_error_is_raised_and_what_has_not_begun_never_does() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 3:
            raise ValueError("three")
        time.sleep(0.01)
        done.append(item)

    before = threading.active_count()
    with pytest.raises(ValueError, match="three"):
        list(in_threads(work, range(1000), 2))
    time.sleep(0.1)
    assert len(done) < 20
    assert threading.active_count() == before


@pytest.mark.timeout(30)
def test_an_interrupted_process_does_not_wait_for_its_threads() -> None:
    script = (
        "import time\n"
        "from airtune.stores.parallel import in_threads\n"
        "print('begun', flush=True)\n"
        "list(in_threads(lambda _: time.sleep(60), range(100), 4))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.3)
    begun = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    _, words = process.communicate(timeout=20)
    assert time.monotonic() - begun < 10
    assert b"KeyboardInterrupt" in words
