"""Where each token of a sample stands, by the model's own rule: counted, or in time, height and width (M-RoPE)."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from airtune.modeling.encoding import Encoded, join_pictures

_RULE = "get_rope_index"
_TYPES = "mm_token_type_ids"


class Positions:
    """A model's rule of positions, without the model: it can go where data is prepared, into another process.

    Args:
        model: the model, with adapters or without.
    """

    def __init__(self, model: nn.Module) -> None:
        owner = next((module for module in model.modules() if hasattr(type(module), _RULE)), None)
        self._owner = None if owner is None else _without_weights(owner)

    def of(self, sample: Encoded) -> torch.Tensor | None:
        """The positions of one sample, shape (axes, length); None where tokens are simply counted."""
        if self._owner is None:
            return None
        rule = getattr(self._owner, _RULE)
        wanted = inspect.signature(rule).parameters
        known = {name: value.unsqueeze(0) for name, value in sample.tokens.items() if name in wanted}
        known.setdefault(_TYPES, torch.zeros_like(known["input_ids"]))
        grids = [{name: value for name, value in picture.items() if name in wanted} for picture in sample.vision]
        positions, _ = rule(**known, **join_pictures(grids))
        found: torch.Tensor = positions[:, 0]
        return found


def _without_weights(owner: nn.Module) -> Any:
    """A module of the same class that has the configuration and nothing else."""
    bare: Any = type(owner).__new__(type(owner))
    nn.Module.__init__(bare)
    bare.config = owner.config
    return bare
