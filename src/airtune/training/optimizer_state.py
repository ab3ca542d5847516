"""The optimizer's state in a checkpoint: one form, whatever number of processes writes or reads it.

The file is what ``optimizer.state_dict()`` gives for a model on one device: states by the number of the parameter.
Where the model is divided among processes each state is put together to be written, one parameter after the other, and
each process takes its share of it when it is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch

from airtune.training import ranks
from airtune.training.sharding import share_of, whole

FILE: Final = "optimizer.pt"


def save_optimizer(optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Writes the state; all processes call it, the first one writes."""
    saved = optimizer.state_dict()
    state: dict[int, dict[str, Any]] = {}
    for number, values in saved["state"].items():
        complete = {name: _on_cpu(whole(value)) for name, value in values.items()}
        if ranks.is_main():
            state[number] = complete
    if ranks.is_main():
        torch.save({**saved, "state": state}, folder / FILE)


def load_optimizer(optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Puts a saved state into the optimizer. Nothing is unpickled but tensors and plain values."""
    saved = torch.load(folder / FILE, map_location="cpu", mmap=True, weights_only=True)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, values in saved["state"].items():
        parameter = parameters[number]
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = share_of(value, parameter)
    optimizer.load_state_dict(saved)


def _on_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, torch.Tensor) else value
