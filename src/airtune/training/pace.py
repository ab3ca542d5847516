"""How far training is, how fast, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import torch

from airtune.training.journal import Journal

_SAY_EVERY_S: Final = (2.0, 60.0)
"""A line for people comes at least and at most so many seconds after the one before: the longer a run, the rarer."""


class Pace:
    """Writes the rows of ``training/metrics.jsonl`` and now and then a line for people.

    A row has ``step``, ``total_steps``, ``epoch``, ``loss`` (mean over the label tokens of the steps since the row
    before), ``learning_rate``, ``grad_norm`` (before clipping), ``tokens`` (so far, without padding), ``seconds``
    (of training, earlier tries included), ``memory`` (peak bytes on the GPU, or bytes of the process) and
    ``eta_seconds``.

    Args:
        metrics: the file.
        total: steps of the whole run.
        resumed: the step at which this process begins.
        say: where lines go.
    """

    def __init__(self, metrics: Journal, *, total: int, resumed: int, say: Callable[[str], None]) -> None:
        self._metrics = metrics
        self._total = total
        self._resumed = resumed
        self._say = say
        self._before = float((metrics.last or {}).get("seconds", 0.0))
        self._begun = time.monotonic()
        self._said = 0.0

    def begin(self) -> None:
        """Training begins now."""
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier tries included."""
        return self._before + time.monotonic() - self._begun

    @property
    def last_loss(self) -> float | None:
        """The loss of the latest row."""
        return (self._metrics.last or {}).get("loss")

    def write(self, logs: dict[str, float], state: Any) -> None:
        """One row, from what the loop logs and the trainer's state."""
        step = int(state.global_step)
        here = max(1, step - self._resumed)
        eta = (time.monotonic() - self._begun) / here * (self._total - step)
        row = {
            "step": step,
            "total_steps": self._total,
            "epoch": round(float(state.epoch or 0.0), 4),
            "loss": float(logs["loss"]),
            "learning_rate": float(logs["learning_rate"]),
            "grad_norm": float(logs["grad_norm"]) if "grad_norm" in logs else None,
            "tokens": int(state.num_input_tokens_seen),
            "seconds": round(self.seconds, 3),
            "memory": memory_bytes(),
            "eta_seconds": round(eta, 1),
        }
        self._metrics.write(row)
        now = time.monotonic()
        least, most = _SAY_EVERY_S
        if now - self._said >= min(most, max(least, (now - self._begun) / 30)) or step == self._total:
            self._said = now
            self._say(
                f"step {step}/{self._total}  epoch {row['epoch']:g}  loss {row['loss']:.4f}  "
                f"rate {row['learning_rate']:.3g}  {_clock(eta)} to go"
            )


def peak_bytes() -> int:
    """Peak bytes so far: of tensors on the GPU, or of this process where there is none."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory_bytes() -> int:
    """Peak bytes that tensors took on the GPU, or the bytes of this process where there is none."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    import psutil

    return int(psutil.Process().memory_info().rss)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
