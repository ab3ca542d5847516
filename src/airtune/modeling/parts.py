"""Which part of a model a parameter belongs to, and how a frozen part is kept out of the backward pass."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from airtune.catalog.entry import CatalogEntry

OTHER: Final = "other"
_ADAPTER_PREFIXES: Final = ("base_model.model.",)
_ADAPTER_MARK: Final = ".lora_"
SEEING: Final = ("vision", "projector")


@dataclass
class PartCount:
    """What of one part is trained.

    Attributes:
        parameters: numbers in the part, adapters included; a 4-bit weight counts as its numbers, not its bytes.
        trained: how many of them are trained.
        adapters: linear layers, and tensors of routed experts, that have an adapter.
        quantized: linear layers held in 4 bit.
    """

    parameters: int = 0
    trained: int = 0
    adapters: int = 0
    quantized: int = 0


def plain_name(name: str) -> str:
    """A module's or parameter's name as the model has it without adapters around it."""
    for prefix in _ADAPTER_PREFIXES:
        name = name.removeprefix(prefix)
    return name.replace(".base_layer.", ".").removesuffix(".base_layer")


def count_by_part(model: nn.Module, entry: CatalogEntry) -> dict[str, PartCount]:
    """Per part (language, vision, projector, head, other): what there is and what of it is trained."""
    counts: dict[str, PartCount] = {}

    def part(name: str) -> PartCount:
        return counts.setdefault(entry.part_of(plain_name(name)) or OTHER, PartCount())

    for name, parameter in model.named_parameters():
        count = part(name)
        count.parameters += _numbers(parameter)
        count.trained += parameter.numel() if parameter.requires_grad else 0
    for name, module in model.named_modules():
        if hasattr(module, "lora_A") and hasattr(module, "base_layer"):
            part(name).adapters += 1
        if any(_is_packed(parameter) for parameter in module.parameters(recurse=False)):
            part(name).quantized += 1
    return counts


def frozen_seeing_modules(model: nn.Module, entry: CatalogEntry) -> Iterator[tuple[str, nn.Module]]:
    """The outermost modules that belong wholly to the vision tower or projector and have nothing to train."""
    taken: tuple[str, ...] = ()
    for name, module in model.named_modules():
        if not name or name.startswith(taken if taken else ("\0",)):
            continue
        parameters = [parameter for _, parameter in module.named_parameters()]
        names = [plain_name(f"{name}.{inner}") for inner, _ in module.named_parameters()]
        if (
            parameters
            and all(entry.part_of(inner) in SEEING for inner in names)
            and not any(parameter.requires_grad for parameter in parameters)
        ):
            taken = (*taken, f"{name}.")
            yield name, module


def run_frozen_parts_without_gradients(model: nn.Module, entry: CatalogEntry) -> list[str]:
    """Runs frozen vision modules under ``no_grad``, so that nothing can draw them into the backward pass.

    With gradient checkpointing the library puts hooks on the inputs that make every activation require a gradient,
    and a frozen tower is then recomputed and differentiated for nothing: about a fifth of a step.

    Returns:
        The names of the modules.
    """
    names = []
    for name, module in frozen_seeing_modules(model, entry):
        module.forward = _without_gradients(module.forward)
        names.append(plain_name(name))
    return names


def _without_gradients(forward: Any) -> Any:
    @functools.wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            return forward(*args, **kwargs)

    return run


def is_adapter(name: str) -> bool:
    """Whether a parameter belongs to an adapter."""
    return _ADAPTER_MARK in name


def _numbers(parameter: nn.Parameter) -> int:
    return parameter.numel() * 2 if _is_packed(parameter) else parameter.numel()


def _is_packed(parameter: nn.Parameter) -> bool:
    # bitsandbytes packs two 4-bit numbers into one byte; its class is named, not imported, to keep this file light.
    return type(parameter).__name__ == "Params4bit"
