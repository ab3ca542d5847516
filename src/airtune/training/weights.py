"""The weights that are trained, in a checkpoint: adapters, or every parameter in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file

from airtune.errors import DefectError, Problem
from airtune.training import ranks
from airtune.training.sharding import share_of, whole

WEIGHTS: Final = "trainable.safetensors"


def save_trained_weights(model: Any, folder: Path) -> None:
    """Writes every parameter that is trained, under its own name and in its own type.

    All processes call it, since each may hold a share of a parameter only; the first one writes.
    """
    weights: dict[str, torch.Tensor] = {}
    for name, parameter in _trained(model).items():
        complete = whole(parameter.detach())
        if ranks.is_main():
            weights[name] = complete.contiguous().cpu()
    if ranks.is_main():
        save_file(weights, folder / WEIGHTS)


def load_trained(model: Any, folder: Path) -> None:
    """Puts the trained weights of a checkpoint into the model: all of them, or none.

    Raises:
        DefectError: the checkpoint is of a model with other trained weights.
    """
    saved, trained = load_file(folder / WEIGHTS), _trained(model)
    if {name: value.shape for name, value in saved.items()} != {name: p.shape for name, p in trained.items()}:
        raise DefectError(
            Problem(str(folder), "the checkpoint is of a model with other trained weights",
                    fix="delete the run's checkpoints, or start a new run")
        )  # fmt: skip
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(share_of(saved[name], parameter))


def _trained(model: Any) -> dict[str, Any]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
