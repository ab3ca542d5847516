"""The adapter's settings: rank, alpha, dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.training

Assemble = Callable[..., Any]


def adapted(pieces: Any) -> dict[str, Any]:
    return {name: module for name, module in pieces.model.named_modules() if hasattr(module, "lora_A")}


def output(pieces: Any, *, training: bool) -> Any:
    """What the adapted layers make of the same input beyond what they would without an adapter."""
    import torch

    layer = next(module for name, module in adapted(pieces).items() if name.endswith("layers.0.mlp.up_proj"))
    inputs = torch.randn(1, 50, layer.in_features, generator=torch.Generator().manual_seed(0))
    layer.train(training)
    with torch.no_grad():
        layer.lora_B["default"].weight.fill_(1.0)
        return layer(inputs) - layer.base_layer(inputs)


def test_the_rank_is_that_of_both_matrices_of_every_adapter(assemble: Assemble) -> None:
    small, large = assemble(lora_rank=2), assemble(lora_rank=16)
    for pieces, rank in ((small, 2), (large, 16)):
        for module in adapted(pieces).values():
            assert module.lora_A["default"].weight.shape == (rank, module.in_features)
            assert module.lora_B["default"].weight.shape == (module.out_features, rank)
    counts = [sum(value.numel() for value in pieces.trained().values()) for pieces in (small, large)]
    assert counts[1] == 8 * counts[0]


def test_alpha_scales_what_an_adapter_adds_as_alpha_by_rank(assemble: Assemble) -> None:
    import torch

    once, twice = (output(assemble(lora_rank=4, lora_alpha=alpha), training=False) for alpha in (4, 8))
    assert once.abs().max() > 0.01
    torch.testing.assert_close(twice, 2 * once)
    wider = assemble(lora_rank=8, lora_alpha=8)
    assert {module.scaling["default"] for module in adapted(wider).values()} == {1.0}
    assert {module.scaling["default"] for module in adapted(assemble(lora_rank=4, lora_alpha=8)).values()} == {2.0}


def test_dropout_leaves_inputs_of_the_adapters_out_while_training_and_never_otherwise(assemble: Assemble) -> None:
    import torch

    pieces = assemble(lora_dropout=0.25)
    assert {module.lora_dropout["default"].p for module in adapted(pieces).values()} == {0.25}
    assert not torch.equal(output(pieces, training=True), output(pieces, training=True))
    assert torch.equal(output(pieces, training=False), output(pieces, training=False))
    without = assemble(lora_dropout=0.0)
    assert torch.equal(output(without, training=True), output(without, training=False))


def test_the_dropout_of_a_run_is_at_work_in_its_training_steps(assemble: Assemble) -> None:
    import torch

    ends = []
    for dropout in (0.0, 0.5):
        pieces = assemble(lora_dropout=dropout, train=8, validation=0, epochs=2)
        pieces.fit()
        ends.append(pieces.trained())
    assert not any(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
