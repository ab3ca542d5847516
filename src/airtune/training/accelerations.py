"""Faster ways to compute the same: taken where they import and agree with the plain way on one step of this very run.

Which were taken, and why not the others, is in the log and in ``training/selfcheck.json``.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import torch

from airtune.modeling.block_attention import go_by_blocks
from airtune.modeling.own_attention import Undo
from airtune.modeling.precision import compute_dtype
from airtune.training import ranks
from airtune.training.out_of_memory import first_line, give_back, is_out_of_memory
from airtune.training.random_states import untouched
from airtune.training.samples import FAILURE, ROWS

if TYPE_CHECKING:
    from airtune.training.samples import Batches
    from airtune.training.trainer import VisionLanguageTrainer

TOLERANCES: Final = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 3e-2}
"""How far loss and gradients may be apart, relative to the largest: some units in the last place of each type."""

_FLASH: Final = "flash_attention_2"


@dataclass(frozen=True, slots=True)
class Acceleration:
    """One faster way.

    Attributes:
        name: what it is.
        used: whether the run computes that way.
        reason: why, or why not.
    """

    name: str
    used: bool
    reason: str

    def __str__(self) -> str:
        return f"{self.name} {'is' if self.used else 'is not'} used: {self.reason}"


def accelerate(trainer: VisionLanguageTrainer) -> list[Acceleration]:
    """Tries what there is on the first samples of the run; what does not agree is taken back.

    The optimizer's is the same for every run (see :func:`fused`) and only said here.

    Args:
        trainer: whose model is not wrapped yet.
    """
    found = [compared(trainer, "Liger", use_liger)]
    if not trainer.data_collator.packs:
        found.append(compared(trainer, "FlashAttention", use_flash_attention))
    else:
        no = "samples share rows, by a mask it does not take"
        found += [Acceleration("FlashAttention", used=False, reason=no), _flex_attention(trainer)]
    return [*found, fused(trainer.optimizer_cls_and_kwargs[0], trainer.args.device)]


def _flex_attention(trainer: VisionLanguageTrainer) -> Acceleration:
    """For samples that share rows; elsewhere than on a GPU it has no backward pass."""
    if trainer.args.device.type != "cuda":
        no = "it is for GPUs; here attention goes branch by branch"
        return Acceleration("FlexAttention", used=False, reason=no)
    return compared(trainer, "FlexAttention", lambda model: use_blocks(model, trainer.data_collator))


def use_blocks(model: Any, batches: Batches) -> Undo:
    """Attention in shared rows by FlexAttention, whose block masks the batches bring from now on.

    Raises:
        ValueError: samples do not share rows.
    """
    packer = batches.packer
    if packer is None:
        raise ValueError("samples do not share rows")
    go_back = go_by_blocks(model)
    batches.packer = packer.by_blocks()

    def undo() -> None:
        go_back()
        batches.packer = packer

    return undo


def fused(kind: type[torch.optim.Optimizer], device: torch.device) -> Acceleration:
    """Whether an optimizer's form with one kernel is used: on a GPU, where it does what the plain form does.

    On the CPU it is not: an update takes a hundredth of a step there, and its last bits would be others.
    """
    name = f"fused {kind.__name__}"
    if device.type != "cuda":
        return Acceleration(name, used=False, reason="on the CPU it gains next to nothing")
    try:
        plain, faster = (three_updates(kind, device, fused=fused) for fused in (False, True))
    except (RuntimeError, ValueError) as error:
        return Acceleration(name, used=False, reason=f"it does not run ({first_line(error)})")
    apart = float((plain - faster).abs().max() / plain.abs().max())
    return Acceleration(name, apart <= TOLERANCES[torch.float32], f"three updates differ by {apart:.0e}")


def three_updates(kind: Any, device: torch.device, *, fused: bool) -> torch.Tensor:
    """What some weights are after three updates; the same numbers at each call."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4096, generator=generator).to(device).requires_grad_()
    optimizer = kind([weight], lr=1e-2, weight_decay=0.1, fused=fused)
    for _ in range(3):
        weight.grad = torch.randn(4096, generator=generator).to(device)
        optimizer.step()
    return weight.detach()


def use_flash_attention(model: Any) -> Undo:
    """The language model's attention by FlashAttention.

    Raises:
        ImportError: it is not installed.
    """
    import_module("flash_attn")  # first: whether it is here at all

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = base.config.get_text_config()._attn_implementation
    base.set_attn_implementation({"text_config": _FLASH})
    return lambda: base.set_attn_implementation({"text_config": before})


def use_liger(model: Any) -> Undo:
    """Norms, rotations and gates by Liger's kernels; the loss stays airtune's own.

    Liger replaces methods of modules and names of the library's files; all of them are put back by the undo.

    Raises:
        ImportError: it is not installed, or not for these versions.
    """
    liger = import_module("liger_kernel.transformers")

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    classes = {type(module) for module in base.modules()}
    files = [sys.modules[name] for name in {each.__module__ for each in classes} if name.startswith("transformers.")]
    before = [(module.__dict__, dict(module.__dict__)) for module in base.modules()]
    names = [(file.__dict__, dict(file.__dict__)) for file in files]
    methods = [(each, each.__dict__.get("forward")) for each in classes]

    def undo() -> None:
        for now, then in [*before, *names]:
            now.clear()
            now.update(then)
        for each, forward in methods:
            if forward is not None:
                each.forward = forward

    try:
        liger._apply_liger_kernel_to_instance(base, cross_entropy=False, fused_linear_cross_entropy=False)
    except BaseException:
        undo()
        raise
    return undo


def compared(trainer: VisionLanguageTrainer, name: str, use: Callable[[Any], Undo]) -> Acceleration:
    """Computes one step the plain way and another way, and keeps the other where both agree, on all devices.

    Whatever a library raises when it is not for this machine, this model or these versions: the plain way remains.

    Args:
        trainer: whose model is not wrapped yet.
        name: of the other way.
        use: begins to compute the other way; returns how to end that.
    """
    if trainer.is_fsdp_enabled:
        return Acceleration(name, used=False, reason="nothing is compared on a model that is divided among devices")
    found = _compared_here(trainer, name, use)
    (refused,) = ranks.agree(not found.used)
    if found.used and refused:
        return Acceleration(name, used=False, reason="it does not do the same on another device of this run")
    if found.used:
        use(trainer.model)
    return found


def _compared_here(trainer: VisionLanguageTrainer, name: str, use: Callable[[Any], Undo]) -> Acceleration:
    """Whether another way is worth taking on this device; it is not taken when this returns."""
    try:
        undo = use(trainer.model)
    except Exception as error:
        return Acceleration(name, used=False, reason=first_line(error))
    try:
        faster = _step(trainer)
    except Exception as error:
        undo()
        return Acceleration(name, used=False, reason=f"it does not run ({first_line(error)})")
    undo()
    try:
        plain = _step(trainer)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        give_back()
        no = "there is no memory to compare it before the probe"
        return Acceleration(name, used=False, reason=no)
    apart = _apart(plain, faster)
    if apart > TOLERANCES[compute_dtype(trainer.run)]:
        return Acceleration(name, used=False, reason=f"one step differs by {apart:.0e} from the plain one")
    return Acceleration(name, used=True, reason=f"one step differs by {apart:.0e}")


def _step(trainer: VisionLanguageTrainer) -> list[float]:
    """The loss of the first samples, and of each trained tensor's gradient the norm and the sum.

    Where samples share rows these are two rows of different lengths: one sample, and it with the next one, of which
    each has tokens that the other may not see. Another way may cut rows otherwise, and would then drop out others.
    """
    model, rows = trainer.model, []
    first = list(itertools.islice(trainer.order, 2)) if trainer.data_collator.packs else [0]
    for together in range(1, len(first) + 1):
        batch = trainer.data_collator([trainer.train_dataset[index] for index in first[:together]])
        if FAILURE in batch:
            raise batch[FAILURE]
        rows += batch[ROWS]
    loss = 0.0
    with untouched(model), _without_dropout(model):
        for row in rows:
            share = trainer.row_loss(model, row)
            torch.autograd.backward(share)
            loss += float(share.detach())
        gradients = [p.grad.float() for p in model.parameters() if p.grad is not None]
        return [loss, *(float(f(gradient)) for gradient in gradients for f in (torch.norm, torch.sum))]


@contextlib.contextmanager
def _without_dropout(model: torch.nn.Module) -> Iterator[None]:
    """Nothing is dropped out within; everything else is as in training."""
    dropping = [module for module in model.modules() if isinstance(module, torch.nn.Dropout) and module.training]
    for module in dropping:
        module.eval()
    try:
        yield
    finally:
        for module in dropping:
            module.train()


def _apart(plain: list[float], faster: list[float]) -> float:
    """The largest difference, the loss's relative to itself and the gradients' to the largest of them."""
    if len(plain) != len(faster):
        return float("inf")
    one, other = torch.tensor(plain), torch.tensor(faster)
    loss, rest = (
        ((one - other).abs() / one.abs().clamp(min=1e-12))[0],
        (one - other)[1:].abs().max() / one[1:].abs().max(),
    )
    return float(torch.stack([loss, rest]).nan_to_num(nan=torch.inf).max())
