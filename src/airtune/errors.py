"""What can go wrong, said so that a person can mend it and a scheduler can decide.

Every error airtune raises on purpose is an :class:`AirtuneError`: it carries one or more
:class:`Problem` (the field or file, the value, what is allowed, the fix) and an exit code.
The exit codes are those of ``sysexits.h`` where one fits, and they decide retries:
see :data:`RETRYABLE`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Final


class ExitCode(IntEnum):
    """How a stage ended; the operator turns it into success, retry or failure."""

    DONE = 0
    SETTINGS = 64
    """Bad settings: trying again changes nothing."""
    DATA = 65
    """Bad data: trying again changes nothing."""
    DEFECT = 70
    """A defect in airtune or a library: worth one retry."""
    OUT_OF_MEMORY = 71
    """Out of GPU memory after every remedy."""
    DIVERGED = 72
    """The loss or the gradient norm is no longer finite."""
    PREEMPTED = 75
    """Told to stop; a checkpoint was written: try again and it resumes."""
    STORE = 76
    """The store or the network failed: try again later."""
    NOT_PERMITTED = 77
    """The platform's rules or the store's credentials forbid it."""


RETRYABLE: Final = frozenset({ExitCode.DEFECT, ExitCode.PREEMPTED, ExitCode.STORE})
"""Exit codes after which another try can succeed."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: the JSON path, file or URI, for example ``spec.flow.blocks[1].settings.epochs``.
        message: what is wrong, in a sentence without a full stop.
        value: the offending value as a short text, or None where there is none.
        allowed: what would be accepted, or None.
        fix: what to do, or None where ``allowed`` says it.
    """

    where: str
    message: str
    value: str | None = None
    allowed: str | None = None
    fix: str | None = None

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}"
        if self.value is not None:
            text += f" (got {self.value})"
        if self.allowed is not None:
            text += f"; allowed: {self.allowed}"
        if self.fix is not None:
            text += f"; {self.fix}"
        return text

    def to_json(self) -> dict[str, str | None]:
        """The problem as a JSON object with the keys where, message, value, allowed and fix."""
        return {
            "where": self.where,
            "message": self.message,
            "value": self.value,
            "allowed": self.allowed,
            "fix": self.fix,
        }


class AirtuneError(Exception):
    """Base of all errors that airtune raises on purpose.

    Args:
        problems: everything that is wrong, not only the first thing.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.DEFECT

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        self.shared = False
        """Whether the first process of this run says it as well."""
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.problems,))

    def to_json(self) -> dict[str, Any]:
        """The error for machines: its exit code and its problems."""
        return {
            "exit_code": int(self.exit_code),
            "error": self.exit_code.name.lower(),
            "problems": [problem.to_json() for problem in self.problems],
        }


class SettingsError(AirtuneError):
    """A run.json, an option or a configuration file cannot be used as it is."""

    exit_code = ExitCode.SETTINGS


class DataError(AirtuneError):
    """A dataset cannot be trained on as it is."""

    exit_code = ExitCode.DATA


class DefectError(AirtuneError):
    """Something is not as airtune itself promised it to be."""

    exit_code = ExitCode.DEFECT


class GpuMemoryError(AirtuneError):
    """The run does not fit on the device, whatever was tried."""

    exit_code = ExitCode.OUT_OF_MEMORY


class DivergedError(AirtuneError):
    """Training left the finite numbers."""

    exit_code = ExitCode.DIVERGED


class PreemptedError(AirtuneError):
    """The process was told to stop and has saved its work."""

    exit_code = ExitCode.PREEMPTED


class StoreError(AirtuneError):
    """A store did not answer, or lost the connection, after all retries."""

    exit_code = ExitCode.STORE


class PeerError(AirtuneError):
    """Another process of the same run is gone: this one cannot go on alone, and is not the one to say why."""

    exit_code = ExitCode.STORE


class NotPermittedError(AirtuneError):
    """Credentials were refused, or a rule of the platform forbids what was asked."""

    exit_code = ExitCode.NOT_PERMITTED
