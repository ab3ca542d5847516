"""Lines that say how far a stage is, not more often than a person wants to read them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

Say = Callable[[str], None]

_SECONDS_BETWEEN: Final = 2.0


def say(line: str) -> None:
    """Print one line at once: it may be read in a log while the work goes on."""
    print(line, flush=True)


class Meter:
    """Counts to a total and says now and then how far it is and how long it will take.

    Args:
        what: what is counted, for example ``images looked at``.
        tell: where lines go.
    """

    def __init__(self, what: str, tell: Say) -> None:
        self._what = what
        self._tell = tell
        self._begun = self._last = time.monotonic()

    def __call__(self, done: int, total: int | None = None) -> None:
        """``done`` of ``total`` are done; None where nobody knows how many there are."""
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN or done == total:
            return
        self._last = now
        rate = done / max(now - self._begun, 1e-9)
        line = f"{done:,} {self._what}, {rate:,.0f} a second"
        if total is not None:
            line = f"{done:,} of {total:,} {self._what}, {rate:,.0f} a second, {(total - done) / rate:,.0f} s to go"
        self._tell(line)
