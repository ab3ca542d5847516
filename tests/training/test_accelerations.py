from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.training

Assemble = Callable[..., Any]


def test_what_does_not_import_is_not_used_and_the_log_says_so(assemble: Assemble) -> None:
    from airtune.training.accelerations import accelerate

    pieces = assemble(train=2, batch_size=1, packed=False)
    found = {each.name: each for each in accelerate(pieces.trainer)}
    assert str(found["FlashAttention"]) == "FlashAttention is not used: No module named 'flash_attn'"
    assert str(found["Liger"]) == "Liger is not used: No module named 'liger_kernel'"
    assert not found["fused AdamW"].used
    packed = {each.name: each for each in accelerate(assemble(train=2, batch_size=1).trainer)}
    assert "samples share rows" in packed["FlashAttention"].reason
    assert str(packed["FlexAttention"]).startswith("FlexAttention is not used: it is for GPUs")


@pytest.mark.usefixtures("flex_attention_here")
def test_flex_attention_trains_what_torchs_own_attention_would(assemble: Assemble) -> None:
    """Switched on by its comparison, and then for every row of the run."""
    from airtune.modeling import block_attention
    from airtune.training.accelerations import compared, use_blocks

    settings = {"train": 4, "validation": 2, "epochs": 1, "batch_size": 4, "system_prompt": "Answer with JSON. " * 12}
    plain, blocks = assemble(**settings), assemble(**settings)
    batches = blocks.trainer.data_collator
    before = blocks.model.config.get_text_config()._attn_implementation
    found = compared(blocks.trainer, "FlexAttention", lambda model: use_blocks(model, batches))
    assert found.used, found.reason
    assert blocks.model.config.get_text_config()._attn_implementation == block_attention.IMPLEMENTATION != before
    assert (batches.packer.attention.form, batches.packer.pair_cost) == ("blocks", 0.0)
    rows = batches([blocks.train[index] for index in range(4)])["rows"]
    assert type(rows[0].model_inputs()["attention_mask"]).__name__ == "BlockMask"
    wanted, computed = (gradients(pieces) for pieces in (plain, blocks))
    assert float((computed - wanted).norm() / wanted.norm()) < 1e-6
    for pieces in (plain, blocks):
        pieces.fit()
    first, second = (pieces.trainer.around for pieces in (plain, blocks))
    assert second.pace.last_loss == pytest.approx(first.pace.last_loss, rel=1e-6)
    assert second.evaluations.last["loss"] == pytest.approx(first.evaluations.last["loss"], rel=1e-4)


def gradients(pieces: Any) -> Any:
    """Of one micro-batch of four samples; the model's own are empty afterwards."""
    import torch

    trainer = pieces.trainer
    batch = trainer.data_collator([pieces.train[index] for index in range(4)])
    trainer.training_step(pieces.model, batch, torch.tensor(sum(len(row.targets) for row in batch["rows"])))
    found = torch.cat([p.grad.flatten() for p in pieces.model.parameters() if p.grad is not None])
    pieces.model.zero_grad(set_to_none=True)
    return found


@pytest.mark.usefixtures("flex_attention_here")
def test_flex_attention_that_computes_something_else_is_taken_back(
    assemble: Assemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airtune.modeling import tree_attention
    from airtune.training.accelerations import compared, use_blocks

    pieces = assemble(train=2, batch_size=2)
    batches, config = pieces.trainer.data_collator, pieces.model.config.get_text_config()
    before = batches.packer, config._attn_implementation
    everything = lambda tree: lambda batch, head, query, key: key <= query  # noqa: E731 - of other branches, too
    monkeypatch.setattr(tree_attention, "ancestors", everything)
    found = compared(pieces.trainer, "FlexAttention", lambda model: use_blocks(model, batches))
    assert not found.used
    assert "from the plain one" in found.reason
    assert (batches.packer, config._attn_implementation) == before


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
