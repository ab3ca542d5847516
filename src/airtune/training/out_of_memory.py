"""Out of memory: how it is told from other errors, how what is left is given back, and the words for the end."""

from __future__ import annotations

import gc
from typing import Final

import torch

from airtune.errors import GpuMemoryError, Problem
from airtune.runspec.resolved import ResolvedRun

_MARKS: Final = (
    "can't allocate memory",  # torch's allocator on the CPU
    "not enough memory",  # the same, on other systems
    "out of memory",  # CUDA, and libraries that call it themselves
    "ALLOC_FAILED",  # cuBLAS and cuDNN
    "could not create a memory",  # oneDNN
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had: on a GPU, or on the CPU under a limit."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _MARKS)


def give_back() -> None:
    """Frees what a failed pass has left: call it after the error itself is gone, which holds its tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def too_large(run: ResolvedRun, said: str, tried: str | None = None) -> GpuMemoryError:
    """The end of a run that does not fit, with what a person can do, the cheapest for quality first.

    Args:
        run: the resolved run; remedies that it has already are left out.
        said: what the allocator said.
        tried: what the run has tried by itself.
    """
    remedies = [] if tried else ["lower batchSize and raise gradientAccumulation (same effective batch)"]
    if not run.quantization_enabled:
        remedies.append("quantization NF4")
    if run.training_mode == "SFT":
        remedies.append("LoRA instead of SFT")
    remedies.append("a smaller model or a larger GPU")
    message = said + (f"; tried in vain: {tried}" if tried else "")
    return GpuMemoryError(Problem("GPU memory", message, fix="in this order: " + "; ".join(remedies)))
