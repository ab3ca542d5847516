"""Says how far the answers are, and how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 2.0


class Progress:
    """Prints a line every two seconds at most, and one at the end.

    Args:
        total: answers to generate.
        clock: seconds; replaced in tests.
        say: takes a line; default prints it at once.
    """

    def __init__(
        self,
        total: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = lambda line: print(line, flush=True),
    ) -> None:
        self._total = total
        self._clock = clock
        self._say = say
        self._begun = clock()
        self._told = self._begun
        self._done = 0

    def add(self, answers: int, what: str) -> None:
        """So many more answers are there.

        Args:
            answers: how many.
            what: whose, for example ``tuned, greedy``.
        """
        self._done += answers
        now = self._clock()
        if self._done < self._total and now - self._told < EVERY_S:
            return
        self._told = now
        spent = now - self._begun
        left = spent / self._done * (self._total - self._done) if self._done else 0.0
        ending = f"about {duration(left)} left" if self._done < self._total else "done"
        self._say(f"evaluate: {self._done:,} of {self._total:,} answers ({what}), {duration(spent)}, {ending}")


def duration(seconds: float) -> str:
    """A time for people: ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
