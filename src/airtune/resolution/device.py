"""The GPU that a run will get, as far as the process that resolves it can tell."""

from __future__ import annotations

import subprocess
from dataclasses import asdict, dataclass
from typing import Any, Final

from airtune.environment import Environment

_QUERY: Final = "name,memory.total,compute_cap"
AMPERE: Final = 8.0
"""Compute capability from which a GPU calculates in bfloat16."""


@dataclass(frozen=True)
class Device:
    """What is known of the GPUs.

    Attributes:
        name: the first GPU's name, or None when there is none or only its memory was told.
        memory_gb: memory of the smallest GPU in GB (1e9 bytes); None without a GPU.
        compute_capability: of the oldest GPU, for example 8.0; None when unknown.
        count: number of GPUs seen.
        source: how this is known.
    """

    name: str | None
    memory_gb: float | None
    compute_capability: float | None
    count: int
    source: str

    def to_json(self) -> dict[str, Any]:
        """The device as plain data."""
        return asdict(self)


def find_device() -> Device:
    """What ``AIRTUNE_GPU_MEMORY_GB`` says, else what ``nvidia-smi`` sees, else no GPU."""
    told = Environment.read().gpu_memory_gb
    if told is not None:
        return Device(None, told, None, 1, "AIRTUNE_GPU_MEMORY_GB")
    try:
        answer = subprocess.run(
            ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return Device(None, None, None, 0, "no nvidia-smi")
    return read_answer(answer)


def read_answer(answer: str) -> Device:
    """The GPUs in an answer of ``nvidia-smi``, one line each: name, MiB, compute capability."""
    gpus = [[part.strip() for part in line.split(",")] for line in answer.splitlines() if line.count(",") == 2]
    memory = [_number(mebibytes) for _, mebibytes, _ in gpus]
    if not gpus or None in memory:
        return Device(None, None, None, 0, "nvidia-smi sees no GPU")
    capabilities = [found for _, _, text in gpus if (found := _number(text)) is not None]
    smallest = min(each for each in memory if each is not None)
    return Device(
        name=gpus[0][0],
        memory_gb=round(smallest * 1024 * 1024 / 1e9, 1),
        compute_capability=min(capabilities, default=None),
        count=len(gpus),
        source="nvidia-smi",
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
