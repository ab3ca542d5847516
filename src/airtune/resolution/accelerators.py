"""GPUs by name: their memory, and what they compute at most, as their makers publish it (dense, without sparsity)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from airtune.errors import Problem, SettingsError


@dataclass(frozen=True)
class Accelerator:
    """One model of GPU.

    Attributes:
        name: as people call it.
        memory_gb: sizes in which it is sold, in GB as on the box.
        half: peak of its matrix units in 16 bit with sums in float32, in 1e12 operations a second.
        single: peak in float32 without matrix units, likewise.
        capability: CUDA compute capability.
    """

    name: str
    memory_gb: tuple[int, ...]
    half: float
    single: float
    capability: float


ACCELERATORS: Final = (
    Accelerator("T4", (16,), 65.0, 8.1, 7.5),
    Accelerator("V100", (16, 32), 125.0, 15.7, 7.0),
    Accelerator("A10G", (24,), 70.0, 31.5, 8.6),
    Accelerator("A10", (24,), 125.0, 31.2, 8.6),
    Accelerator("A30", (24,), 165.0, 10.3, 8.0),
    Accelerator("A40", (48,), 149.7, 37.4, 8.6),
    Accelerator("A100", (40, 80), 312.0, 19.5, 8.0),
    Accelerator("RTX 3090", (24,), 71.0, 35.6, 8.6),
    Accelerator("RTX A6000", (48,), 154.8, 38.7, 8.6),
    Accelerator("L4", (24,), 121.0, 30.3, 8.9),
    Accelerator("L40S", (48,), 362.0, 91.6, 8.9),
    Accelerator("L40", (48,), 181.0, 90.5, 8.9),
    Accelerator("RTX 4090", (24,), 165.2, 82.6, 8.9),
    Accelerator("RTX 5090", (32,), 209.5, 104.8, 12.0),
    Accelerator("H100 PCIe", (80,), 756.0, 51.0, 9.0),
    Accelerator("H100", (80,), 989.0, 67.0, 9.0),
    Accelerator("H200", (141,), 989.0, 67.0, 9.0),
    Accelerator("B200", (180,), 2250.0, 80.0, 10.0),
)
"""The 16-bit figures are those with float32 sums, which training uses; GeForce cards publish twice that for 16-bit
sums. V100 and T4 have no bfloat16; their figure is that of float16."""

CARD_SIZES: Final = (8, 12, 16, 24, 32, 40, 48, 80, 141, 180)
"""Memory sizes of cards that are sold, in GB."""


def find(name: str) -> Accelerator | None:
    """The GPU of a name as people, clouds or ``nvidia-smi`` write it; None for one that is not in the table."""
    words = re.sub(r"[^a-z0-9]+", " ", name.lower()).split()
    best: tuple[int, Accelerator] | None = None
    for each in ACCELERATORS:
        wanted = each.name.lower().split()
        if all(word in words for word in wanted) and (best is None or len(wanted) > best[0]):
            best = (len(wanted), each)
    return None if best is None else best[1]


def parse(text: str) -> tuple[Accelerator, float]:
    """What ``--gpu`` says: a name, with its memory where it is sold in several sizes, such as ``A100-40GB``.

    Returns:
        The GPU, and its memory in GB.

    Raises:
        SettingsError: no GPU of the table is meant, or it is not sold in this size.
    """
    found = find(text)
    if found is None:
        names = ", ".join(each.name for each in ACCELERATORS)
        raise SettingsError(
            Problem("--gpu", "is no GPU that airtune knows", value=repr(text), allowed=names,
                    fix="give its memory with --gpu-memory instead")
        )  # fmt: skip
    said = re.search(r"(\d+)\s*gi?b\b", text.lower())
    if said is None:
        return found, float(found.memory_gb[0])
    if int(said[1]) not in found.memory_gb:
        sizes = ", ".join(f"{size}GB" for size in found.memory_gb)
        raise SettingsError(Problem("--gpu", "is not sold with that memory", value=repr(text), allowed=sizes))
    return found, float(said[1])


def parse_memory(text: str) -> float:
    """What ``--gpu-memory`` says, in GB (1e9 bytes): ``24``, ``24GB`` or ``22GiB``.

    Raises:
        SettingsError: it is no amount of memory.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(gb|gib|g|)\s*", text.lower())
    if found is None or float(found[1]) <= 0:
        raise SettingsError(Problem("--gpu-memory", "is no amount of memory", value=repr(text), allowed="such as 24GB"))
    return float(found[1]) * (1.073741824 if found[2] == "gib" else 1.0)
