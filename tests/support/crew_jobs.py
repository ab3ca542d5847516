"""Jobs for other processes, which import them from here."""

from __future__ import annotations

import os
import signal


def divmod_of(number: int) -> tuple[tuple[int, int], int]:
    return divmod(number, 7), os.getpid()


def inverse(number: int) -> float:
    return 1 / number


def own_id(_: int) -> int:
    return os.getpid()


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_of(job: tuple[bool, bytes]) -> None:
    if job[0]:
        die(0)
