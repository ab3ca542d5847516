"""What the first forward and backward pass of a run tells: which modules ran, and which tensors got a gradient."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from airtune.catalog.entry import CatalogEntry
from airtune.modeling.parts import SEEING, plain_name

_NOT_RUN: Final = "its module did not run in this step"
_BEYOND: Final = "it comes after the layer whose features the language model is given"


@dataclass(frozen=True)
class Gradients:
    """Which trained tensors got a gradient.

    Attributes:
        trained: how many there are.
        missing: names of tensors whose module ran and which nevertheless got none.
        tolerated: name -> why it rightly got none.
        zero: names of tensors whose gradient is zero everywhere.
    """

    trained: int
    missing: tuple[str, ...]
    tolerated: Mapping[str, str]
    zero: tuple[str, ...]


class FirstStep:
    """Watches a model from now until :meth:`gradients` is asked.

    ``seeing`` are the names of the vision tower's and projector's modules, ``seeing_ran`` those that ran, and
    ``seeing_in_backward`` those whose output the backward pass goes through.

    Args:
        model: as it will be trained.
        entry: the catalog entry, which says where the parts are.
    """

    def __init__(self, model: nn.Module, entry: CatalogEntry) -> None:
        self._model = model
        self._entry = entry
        self._ran: set[str] = set()
        self.seeing: set[str] = set()
        self.seeing_ran: set[str] = set()
        self.seeing_in_backward: set[str] = set()
        self._hooks = []
        for name, module in model.named_modules():
            if not any(True for _ in module.parameters(recurse=False)):
                continue
            plain = plain_name(name)
            if entry.part_of(plain) in SEEING:
                self.seeing.add(plain)
            self._hooks.append(module.register_forward_hook(self._note(name, plain)))

    def gradients(self) -> Gradients:
        """Looks at every trained tensor after the first backward pass, and watches no longer."""
        for hook in self._hooks:
            hook.remove()
        beyond = unused_layers(self._model)
        missing, tolerated, zero, trained = [], {}, [], 0
        for name, parameter in self._model.named_parameters():
            if not parameter.requires_grad:
                continue
            trained += 1
            plain = plain_name(name)
            if parameter.grad is not None:
                if not bool(parameter.grad.any()):
                    zero.append(plain)
            elif name.rpartition(".")[0] not in self._ran:
                tolerated[plain] = _NOT_RUN
            elif self._entry.part_of(plain) == "vision" and beyond.search(plain):
                tolerated[plain] = _BEYOND
            else:
                missing.append(plain)
        return Gradients(trained, tuple(missing), tolerated, tuple(zero))

    def _note(self, name: str, plain: str) -> Any:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            del module, inputs
            self._ran.add(name)
            if plain not in self.seeing:
                return
            self.seeing_ran.add(plain)
            tensors = output if isinstance(output, tuple) else (output,)
            if any(isinstance(tensor, torch.Tensor) and tensor.grad_fn is not None for tensor in tensors):
                self.seeing_in_backward.add(plain)

        return note


def unused_layers(model: Any) -> re.Pattern[str]:
    """Matches the parameters of a vision tower that run but lead nowhere.

    The LLaVA family takes the features of a layer before the last (``vision_feature_layer``, -2: the last but one);
    what comes after that layer runs and is thrown away.
    """
    config = model.config
    taken = getattr(config, "vision_feature_layer", None)
    layers = getattr(getattr(config, "vision_config", None), "num_hidden_layers", None)
    if not isinstance(layers, int) or taken is None:
        return re.compile(r"(?!)")
    deepest = max(layer if layer >= 0 else layers + 1 + layer for layer in _numbers(taken))
    if deepest >= layers:
        return re.compile(r"(?!)")
    numbers = "|".join(str(number) for number in range(deepest, layers))
    return re.compile(rf"\.layers?\.(?:{numbers})\.|\.(?:post_layernorm|head)\.")


def _numbers(taken: Any) -> list[int]:
    return [int(taken)] if isinstance(taken, int) else [int(each) for each in taken]
