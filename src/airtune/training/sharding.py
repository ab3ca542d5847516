"""Full fine-tuning on several devices: the weights, gradients and optimizer of one model divided among them (FSDP2).

The dividing is torch's ``fully_shard``, set up by accelerate as ``include/configs/accelerate/*-fsdp2.yaml`` says. What
is said here is what no configuration file can know: the layers of this model, and the run's precision.

Each layer of the language model is a unit that is put together when it is needed. The vision tower and the projector
are not divided further: they belong to the unit around everything, so that devices whose samples have no picture put
the same pieces together as the others, and wait for nobody.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from airtune.catalog.entry import CatalogEntry
from airtune.errors import DefectError, Problem
from airtune.modeling.precision import compute_dtype
from airtune.runspec.resolved import ResolvedRun
from airtune.training import ranks

HOST: Final = torch.device("cpu")


def is_asked_for() -> bool:
    """Whether this process was launched to hold a share of a model."""
    return ranks.world() > 1 and os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def set_up(accelerator: Any, model: nn.Module, run: ResolvedRun, entry: CatalogEntry) -> None:
    """Tells accelerate how this model is divided; before it prepares the model.

    Weights and their optimizer stay float32. For a pass they are put together in the run's precision, and gradients
    are added up in float32.
    """
    from accelerate import DistributedType, FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import MixedPrecisionPolicy

    plugin = getattr(accelerator.state, "fsdp_plugin", None) or FullyShardedDataParallelPlugin()
    plugin.transformer_cls_names_to_wrap = sorted(layer_classes(model, entry))
    plugin.mixed_precision_policy = MixedPrecisionPolicy(
        param_dtype=None if run.precision == "Float32" else compute_dtype(run),
        reduce_dtype=torch.float32,
        output_dtype=torch.float32,
    )
    # Accelerate itself divides models on GPUs only; on the CPU everything below it works as well.
    accelerator.state.fsdp_plugin = plugin
    accelerator.state.distributed_type = DistributedType.FSDP


def layer_classes(model: nn.Module, entry: CatalogEntry) -> set[str]:
    """Names of the classes of the language model's layers.

    Raises:
        DefectError: its layers are not in a list, so that nobody knows where to cut.
    """
    lists = [name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    outermost = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    stacks = [name for name in outermost if entry.part_of(f"{name}.0") == "language"]
    found = {type(layer).__name__ for name in stacks for layer in model.get_submodule(name).children()}
    if not found:
        raise DefectError(Problem(entry.display_name, "its language model has no list of layers to be divided"))
    return found


def finish(model: Any) -> None:
    """What is settled once the model is divided.

    Devices whose samples have no picture give zero gradients for the vision tower, as the others expect. Gloo cannot
    average: it adds up, and the sum is divided.
    """
    model.set_reduce_scatter_unused_params(True)
    if next(model.parameters()).device.type == "cpu":
        model.set_force_sum_reduction_for_comms(True)


@contextlib.contextmanager
def alone(model: Any) -> Iterator[None]:
    """Within, a pass through a divided model asks nothing of the other processes, so that it may fail in one of them.

    It takes the memory that a real pass takes; its numbers mean nothing. Where weights of the others belong, this
    process's own share stands once more, and of its gradients each process keeps its part without the others' being
    added. Afterwards the model is as if no pass had begun, whatever ended it; all gradients are gone.

    Args:
        model: divided (:func:`finish`); another one is left as it is.
    """
    if not isinstance(model, FSDPModule):
        yield
        return
    from torch.distributed.fsdp._fully_shard._fsdp_collectives import DefaultAllGather, DefaultReduceScatter

    whole_model: Any = model
    units = [module for module in whole_model.modules() if isinstance(module, FSDPModule)]
    _exchange(units, _OwnShareAgain(), _OwnPart())
    begun: list[bool] = []
    noting = whole_model.register_forward_pre_hook(lambda *_: begun.append(True), prepend=True)
    try:
        yield
    finally:
        noting.remove()
        if begun:
            whole_model.reset_iter_state()
        _exchange(units, DefaultAllGather(), DefaultReduceScatter())


def _exchange(units: Sequence[Any], gather: Any, scatter: Any) -> None:
    """How these units put their weights together and share their gradients out from now on."""
    for unit in units:
        unit.set_custom_all_gather(gather)
        unit.set_custom_reduce_scatter(scatter)


class _Allocating:
    """Memory as torch's own exchange takes it."""

    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        return torch.empty(*size, dtype=dtype, device=device)


class _OwnShareAgain(_Allocating):
    """An exchange of weights in which every share is this process's own."""

    def __call__(
        self, output_tensor: torch.Tensor, input_tensor: torch.Tensor, group: Any, async_op: bool = False
    ) -> None:
        del async_op
        for number, share in enumerate(output_tensor.chunk(group.size())):
            if number != group.rank():  # there the input lies already
                share.copy_(input_tensor)


class _OwnPart(_Allocating):
    """An exchange of gradients to which no other process adds anything."""

    def __call__(
        self, output_tensor: torch.Tensor, input_tensor: torch.Tensor, group: Any, op: Any, async_op: bool = False
    ) -> None:
        del op, async_op
        output_tensor.copy_(input_tensor.chunk(group.size())[group.rank()])


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor of which this process may hold a share only; the others ask for it at the same time."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def share_of(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """This process's share of a tensor that each process has whole, divided as ``like`` is; nothing is exchanged."""
    if not isinstance(like, DTensor):
        return tensor
    on_device = tensor.to(like.device)
    return distribute_tensor(on_device, like.device_mesh, like.placements, src_data_rank=None)


def put_together(model: nn.Module, into: nn.Module | None) -> None:
    """Copies a divided model's weights into one that is whole; all processes take part, one parameter at a time.

    Args:
        model: the divided model.
        into: the same model undivided, in any type; None in processes that do not write it.

    Raises:
        DefectError: the two are not the same model.
    """
    targets = None if into is None else dict(into.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            complete = whole(parameter)
            if targets is None:
                continue
            if name not in targets:
                raise DefectError(Problem("model", "a trained weight has no place in what is saved", value=name))
            targets.pop(name).copy_(complete)
    if targets:
        raise DefectError(Problem("model", f"{len(targets)} weights were not trained", value=next(iter(targets))))
