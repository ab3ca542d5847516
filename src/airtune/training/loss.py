"""The loss: cross entropy of the answers' tokens, computed where there are labels and nowhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from airtune.errors import DefectError, Problem
from airtune.training.rows import Row


def summed_loss(model: Any, row: Row) -> torch.Tensor:
    """The sum of the cross entropies of a row's targets, a scalar of float32 (or float64, for a model in it).

    The output layer runs on the places that predict a target. With a vocabulary of 150,000 and answers of a tenth of
    the text that is a tenth of its memory; the loss is the same.

    Args:
        model: an image-text-to-text model, with or without adapters, wrapped for several processes or not.
        row: on the model's device.
    """
    with predicting_only(model, row.sources):
        logits = model(**row.model_inputs(), use_cache=False).logits.flatten(0, -2)
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return functional.cross_entropy(exact, row.targets, reduction="sum")


@contextlib.contextmanager
def predicting_only(model: Any, places: torch.Tensor) -> Iterator[None]:
    """Within, the model's output layer runs on these places only, whatever the architecture.

    The choice is made at the door of the layer: what a model does with its logits afterwards (Gemma caps them) it
    does to what is left. Logits have the shape (1, k, vocabulary).

    Args:
        model: the model.
        places: shape (k,), in the flattened (rows * length) hidden states.
    """

    def choose(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        del layer
        hidden, *rest = inputs
        return (hidden.flatten(0, -2)[places].unsqueeze(0), *rest)

    hook = output_layer(model).register_forward_pre_hook(choose)
    try:
        yield
    finally:
        hook.remove()


def output_layer(model: Any) -> nn.Module:
    """The layer that makes logits of hidden states.

    Raises:
        DefectError: the model does not say which it is.
    """
    while hasattr(model, "module"):  # around it in several processes
        model = model.module
    layer = model.get_output_embeddings()
    if not isinstance(layer, nn.Module):
        raise DefectError(Problem("model", f"{type(model).__name__} does not say which layer makes its logits"))
    return layer
