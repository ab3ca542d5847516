from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.training

Assemble = Callable[..., Any]


def test_what_does_not_import_is_not_used_and_the_log_says_so(assemble: Assemble) -> None:
    from airtune.training.accelerations import accelerate

    pieces = assemble(train=2, batch_size=1)
    found = {each.name: each for each in accelerate(pieces.trainer, packed=False)}
    assert str(found["FlashAttention"]) == "FlashAttention is not used: No module named 'flash_attn'"
    assert str(found["Liger"]) == "Liger is not used: No module named 'liger_kernel'"
    assert not found["fused AdamW"].used
    packed = {each.name: each for each in accelerate(pieces.trainer, packed=True)}
    assert "samples share rows" in packed["FlashAttention"].reason


@pytest.mark.parametrize(
    ("change", "used", "reason"),
    [
        (1.0, True, "one step differs by 0e+00"),
        (1.0 + 1e-7, True, "one step differs by"),
        (1.001, False, "from the plain one"),
        (float("nan"), False, "inf from the plain one"),
        (None, False, "it does not run (no kernel for this)"),
    ],
)
def test_what_does_not_agree_with_the_plain_way_on_one_step_is_taken_back(
    assemble: Assemble, change: float | None, used: bool, reason: str
) -> None:
    """A way that scales what the last norm of the language model gives."""
    import torch

    from airtune.training.accelerations import compared

    pieces = assemble(train=2, batch_size=1, lora_dropout=0.3)
    (norm,) = [module for name, module in pieces.model.named_modules() if name.endswith("language_model.norm")]
    state = torch.get_rng_state()

    def scaled(module: Any, inputs: Any, output: Any) -> Any:
        if change is None:
            raise RuntimeError("no kernel for this")
        return output * change

    def use(model: Any) -> Callable[[], None]:
        return norm.register_forward_hook(scaled).remove

    found = compared(pieces.trainer, "scaling", use)
    assert found.used is used
    assert reason in found.reason
    assert len(norm._forward_hooks) == int(used)
    assert all(p.grad is None for p in pieces.model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
