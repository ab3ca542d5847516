"""When training ends before its last step: told to stop, or no longer getting better."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from airtune.errors import PreemptedError, Problem
from airtune.launch import Orphan
from airtune.training import ranks


class StopRequest:
    """Whether this run was told to stop: by SIGTERM or SIGINT, or because the launcher above it is gone.

    A signal may reach one of several processes, and none at the same step as another. So they ask each other, all at
    the same place (:meth:`ask`), and until then none of them knows.
    """

    def __init__(self) -> None:
        self._signal: str | None = None
        self._orphan = Orphan()
        self._agreed = False

    @classmethod
    def listen(cls) -> StopRequest:
        """Notes the signals from now on instead of dying of them; the work is saved at the next step."""
        request = cls()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, request._note)
        return request

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._signal = signal.Signals(number).name

    @property
    def reason(self) -> str | None:
        """Why to stop, or None."""
        if self._signal is not None:
            return self._signal
        if self._agreed:
            return "another process was told to"
        return "the launcher is gone" if self._orphan else None

    @property
    def noticed(self) -> bool:
        """Whether this process was told, of which the others may not know yet."""
        return self.reason is not None

    def ask(self) -> bool:
        """Whether any process was told to stop; all of them ask at the same place."""
        if ranks.world() > 1:
            (self._agreed,) = ranks.agree(self.reason is not None)
        return bool(self)

    def __bool__(self) -> bool:
        return self.reason is not None if ranks.world() == 1 else self._agreed

    def check(self) -> None:
        """Ends the process where nothing has been trained yet that would have to be saved; asks the others.

        Raises:
            PreemptedError: it was told to stop.
        """
        if self.ask():
            self.obey("nothing was lost: it had not begun to train")

    def obey(self, saved: str) -> NoReturn:
        """Ends the process, saying what was saved.

        Raises:
            PreemptedError: always.
        """
        error = PreemptedError(
            Problem("training", f"told to stop ({self.reason}); {saved}", fix="try again: it resumes")
        )
        error.shared = not ranks.is_main()
        raise error


def evaluations_without_gain(losses: Sequence[float]) -> int:
    """How many of the latest validation losses came since the best one (0: the latest is the best)."""
    if not losses:
        return 0
    best = min(range(len(losses)), key=lambda position: (losses[position], position))
    return len(losses) - 1 - best
