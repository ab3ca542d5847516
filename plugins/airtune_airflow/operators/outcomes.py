"""What the end of a stage's process means: a sentence for people, and whether another try can help."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from airtune.errors import ExitCode

KILLED: Final = 128 + 9
TERMINATED: Final = 128 + 15
NOT_FOUND: Final = 127


class Retry(Enum):
    """Whether, and how soon, another try makes sense."""

    NEVER = "never"
    ONCE = "once"
    SOON = "soon"
    BACK_OFF = "back off"


@dataclass(frozen=True)
class Outcome:
    """How a stage ended.

    Attributes:
        exit_code: of the stage's process; None when it never had one (its pod was lost, or never began).
        sentence: what happened, in words.
        retry: whether to try again.
    """

    exit_code: int | None
    sentence: str
    retry: Retry

    @property
    def done(self) -> bool:
        """Whether the stage did its work."""
        return self.exit_code == ExitCode.DONE


_MEANINGS: Final[dict[int, tuple[str, Retry]]] = {
    ExitCode.DONE: ("done", Retry.NEVER),
    ExitCode.SETTINGS: ("the settings cannot be used", Retry.NEVER),
    ExitCode.DATA: ("the dataset cannot be used", Retry.NEVER),
    ExitCode.DEFECT: ("a defect in airtune or a library", Retry.ONCE),
    ExitCode.OUT_OF_MEMORY: ("out of GPU memory after every remedy", Retry.NEVER),
    ExitCode.DIVERGED: ("training diverged", Retry.NEVER),
    ExitCode.PREEMPTED: ("told to stop before the end; it goes on from its checkpoint", Retry.SOON),
    ExitCode.STORE: ("the store or the network failed", Retry.BACK_OFF),
    ExitCode.NOT_PERMITTED: ("not permitted", Retry.NEVER),
    NOT_FOUND: ("the program was not found: is airtune installed where the stage runs?", Retry.NEVER),
    KILLED: ("killed from outside, for example because the machine had no memory left", Retry.SOON),
    TERMINATED: ("ended by SIGTERM before it could save its work", Retry.SOON),
}

_OUT_OF_MEMORY: Final = (
    "the container used more memory than its limit (OOMKilled): raise resources.limits.memory in the pod template, or "
    "lower batchSize"
)
_DEADLINE: Final = "it ran longer than it may (AIRTUNE_TRAIN_TIMEOUT_HOURS, AIRTUNE_STAGE_TIMEOUT_HOURS)"

# What Kubernetes gives as the reason of a pod's failure when the cluster, not the stage, ended it.
_CLUSTER_REASONS: Final[dict[str, str]] = {
    "Evicted": "the node ran short of resources and evicted the pod",
    "NodeLost": "the node was lost",
    "NodeShutdown": "the node was shut down",
    "Shutdown": "the node was shut down",
    "Terminated": "the node was shut down",
    "Preempting": "a pod of higher priority took its place",
    "PreemptionByScheduler": "a pod of higher priority took its place",
    "UnexpectedAdmissionError": "the node could not give what it had promised (often a GPU)",
}


def judge(exit_code: int | None, *, reason: str | None = None, message: str | None = None) -> Outcome:
    """What a stage's end means.

    Args:
        exit_code: of its process, 128 + N for signal N; None when there was none.
        reason: what Kubernetes gives as the reason: of the container (``OOMKilled``) or the pod (``Evicted``).
        message: what the stage said about it, or what Kubernetes said.

    Returns:
        The outcome; unknown exit codes count as a defect.
    """
    if exit_code == ExitCode.DONE:
        return Outcome(ExitCode.DONE, "done", Retry.NEVER)
    if reason == "OOMKilled":
        return Outcome(exit_code, _OUT_OF_MEMORY, Retry.NEVER)
    if reason == "DeadlineExceeded":
        return Outcome(exit_code, _DEADLINE, Retry.NEVER)
    if reason in _CLUSTER_REASONS:
        return Outcome(exit_code, _with(f"{_CLUSTER_REASONS[reason]} ({reason})", message), Retry.SOON)
    if exit_code is None:
        return Outcome(None, _with("it ended without an exit code", message or reason), Retry.SOON)
    meaning, retry = _MEANINGS.get(exit_code, (f"ended with exit code {exit_code}", Retry.ONCE))
    prefix = "" if exit_code not in _MEANINGS else f"exit code {exit_code}: "
    return Outcome(exit_code, _with(prefix + meaning, message), retry)


def _with(meaning: str, message: str | None) -> str:
    text = (message or "").strip()
    return f"{meaning}\n{text}" if text else meaning
