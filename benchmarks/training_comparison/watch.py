"""What is noted while a side trains: when each step ended, what went through the model, how much memory it took.

Both sides are noted in the same way, at the same places of the same model.
"""

from __future__ import annotations

import json
import re
import resource
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from airtune.catalog.entry import CatalogEntry
from airtune.modeling.parts import plain_name

_FIRST_LAYER = re.compile(r"\.(?:layers|layer|blocks)\.0$")


class Watch(TrainerCallback):  # type: ignore[misc]
    """Notes one side's training; its clock runs from the moment at which it is made.

    Args:
        model: with its adapters.
        entry: the catalog entry of its architecture.
    """

    def __init__(self, model: Any, entry: CatalogEntry) -> None:
        self.tokens = {"language": 0, "vision": 0}
        self._sft = all(parameter.requires_grad for parameter in model.parameters())
        self._weights = _matrix_weights(model, entry)
        self._ends: list[float] = []
        for name, module in model.named_modules():
            plain = plain_name(name)
            if _FIRST_LAYER.search(plain) and (part := entry.part_of(f"{plain}.weight")) in self.tokens:
                module.register_forward_pre_hook(self._count(part), with_kwargs=True)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._begun = time.perf_counter()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before each optimizer step; a probe that came before the first is no step, and its tokens are not counted."""
        del args, state, control, kwargs
        if not self._ends:
            self.tokens["language"] = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After each optimizer step."""
        del args, state, control, kwargs
        self.step_ends()

    def step_ends(self) -> None:
        """A step's work is done, on the GPU too."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._ends.append(time.perf_counter())

    def result(self, *, losses: list[float], before: float, **more: Any) -> dict[str, Any]:
        """What one side has to say.

        Args:
            losses: of each step.
            before: seconds from the loaded model to the clock's start.
            **more: is added.
        """
        starts = [self._begun, *self._ends]
        peak = peak_bytes()  # before the matrices below
        return {
            "losses": losses,
            "seconds": [end - start for start, end in zip(starts, self._ends, strict=False)],
            "before_seconds": before,
            "flops": self._flops(),
            "matrix_flops_per_second": matrix_rate(),
            "language_tokens": self.tokens["language"],
            "vision_tokens": self.tokens["vision"],
            "peak_bytes": peak,
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            **more,
        }

    def _flops(self) -> int:
        """Of the matrices alone, without attention: two for each weight and token, as often as a pass goes through.

        Forward; backward to the inputs; and with SFT backward to the weights. A frozen tower goes forward only.
        """
        language, vision = (3, 3) if self._sft else (2, 1)
        passes = {"language": language, "vision": vision}
        return sum(2 * self._weights[part] * self.tokens[part] * passes[part] for part in passes)

    def _count(self, part: str) -> Any:
        def count(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del module
            hidden = args[0] if args else kwargs["hidden_states"]
            self.tokens[part] += hidden.numel() // hidden.shape[-1]

        return count


def _matrix_weights(model: Any, entry: CatalogEntry) -> dict[str, int]:
    """Numbers in the matrices of each part; packed 4-bit weights count as what they stand for."""
    counts = {"language": 0, "vision": 0}
    for name, module in model.named_modules():
        part = entry.part_of(f"{plain_name(name)}.weight")
        if part in counts and hasattr(module, "in_features") and not hasattr(module, "base_layer"):
            counts[part] += module.in_features * module.out_features
    return counts


def matrix_rate(size: int = 2048, times: int = 5) -> float:
    """Operations a second of this device multiplying two matrices, the fastest of several; bfloat16 on a GPU."""
    on_gpu = torch.cuda.is_available()
    one = torch.randn(size * (4 if on_gpu else 1), size * (4 if on_gpu else 1))
    one = one.to("cuda", torch.bfloat16) if on_gpu else one
    fastest = float("inf")
    for _ in range(times):
        begun = time.perf_counter()
        torch.matmul(one, one)
        if on_gpu:
            torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - begun)
    return 2 * one.shape[0] ** 3 / fastest


def peak_bytes() -> int:
    """The most that tensors took on the GPU, or that this process took of the machine's memory."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def write(result: dict[str, Any], path: Path) -> None:
    """Writes a side's result for the parent process."""
    path.write_text(json.dumps(result), encoding="utf-8")
