"""What the optimizer is given for weights that a step's samples did not touch: the same on any number of devices.

A step whose samples are all of text alone leaves the vision tower without gradients on one device: None. On several
devices that hold one model together, gradients are zeros there. The optimizers treat the two differently: with zeros a
weight goes on by its moments and decays, with None it stands still. So here a weight that was trained before has zeros,
since a gradient of zero is what it has; and one that no sample ever touched has None, and stays what it was.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.tensor import DTensor

from airtune.training import ranks


def settle(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Makes the gradients so, before each update; a hook for :meth:`torch.optim.Optimizer.register_step_pre_hook`."""
    untouched = []
    for parameter in (each for group in optimizer.param_groups for each in group["params"]):
        if parameter in optimizer.state:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        elif isinstance(parameter.grad, DTensor):
            untouched.append(parameter)
    if untouched:
        found = ranks.largest([int(parameter.grad.to_local().any()) for parameter in untouched])
        for parameter, touched in zip(untouched, found, strict=True):
            if not touched:
                parameter.grad = None
