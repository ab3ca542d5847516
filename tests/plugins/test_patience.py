"""Asking the store without ever waiting long."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

pytest.importorskip("fastapi")

from airtune_airflow.api.patience import Asking, StoreAwayError, in_parallel


def test_one_question_is_asked_once_for_all_who_wait() -> None:
    asked = []

    def work() -> int:
        asked.append(1)
        time.sleep(0.2)
        return 7

    async def many() -> list[int]:
        asking = Asking()
        return list(await asyncio.gather(*(asking.ask("q", work) for _ in range(20))))

    assert asyncio.run(many()) == [7] * 20
    assert len(asked) == 1


def test_who_waits_too_long_is_told_so_and_the_next_one_gets_the_answer() -> None:
    release = threading.Event()

    async def twice() -> str:
        asking = Asking(wait_s=0.1)
        with pytest.raises(StoreAwayError, match=r"0\.1 s"):
            await asking.ask("q", lambda: release.wait(10) and "late")
        release.set()
        await asyncio.sleep(0.2)
        return str(await asking.ask("q", lambda: "new"))

    assert asyncio.run(twice()) == "late"


def test_questions_that_hang_do_not_grow_in_number() -> None:
    release = threading.Event()

    async def flood() -> int:
        asking = Asking(wait_s=0.05, threads=3)
        before = threading.active_count()
        for number in range(20):
            with pytest.raises(StoreAwayError):
                await asking.ask(number, lambda: release.wait(10))
        return threading.active_count() - before

    try:
        assert asyncio.run(flood()) <= 3
    finally:
        release.set()


def test_an_error_reaches_everyone_who_asked() -> None:
    def work() -> None:
        raise LookupError("gone")

    async def ask() -> None:
        await Asking().ask("q", work)

    with pytest.raises(LookupError, match="gone"):
        asyncio.run(ask())


def test_parallel_answers_come_in_the_order_of_the_questions() -> None:
    assert in_parallel(lambda number: number * number, range(50)) == [number * number for number in range(50)]
    assert in_parallel(lambda number: number, []) == []


def test_parallel_work_raises_its_first_error() -> None:
    with pytest.raises(ZeroDivisionError):
        in_parallel(lambda number: 1 / number, [2, 1, 0])
