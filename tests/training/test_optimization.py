from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.training

Assemble = Callable[..., Any]
SETTINGS: dict[str, Any] = {
    "train": 8, "validation": 0, "epochs": 10, "batch_size": 4, "learning_rate": 3e-3, "weight_decay": 0.3,
}  # fmt: skip


def distance(one: dict[str, Any], other: dict[str, Any]) -> float:
    import torch

    return float(torch.cat([(one[name] - other[name]).flatten() for name in one]).norm())


def watched(pieces: Any) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """Trains: the gradients that the optimizer was given in each step, the weights at the start and at the end."""
    from transformers import TrainerCallback

    gradients: list[dict[str, Any]] = []

    class Keep(TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            gradients.append({n: p.grad.clone() for n, p in pieces.model.named_parameters() if p.requires_grad})

    pieces.trainer.add_callback(Keep())
    before = pieces.trained()
    pieces.fit()
    return gradients, before, pieces.trained()


def test_adamw_and_adam_are_torchs_own_for_20_steps_and_differ_under_weight_decay(assemble: Assemble) -> None:
    import torch

    ends: dict[str, dict[str, Any]] = {}
    for name, optimizer in (("AdamW", torch.optim.AdamW), ("Adam", torch.optim.Adam)):
        gradients, start, ends[name] = watched(assemble(optimizer=name, **SETTINGS))
        assert len(gradients) == 20
        weights = {key: torch.nn.Parameter(value.clone()) for key, value in start.items()}
        theirs = optimizer(weights.values(), lr=3e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.3)
        for gradient in gradients:
            for key, weight in weights.items():
                weight.grad = gradient[key]
            theirs.step()
        moved = distance(ends[name], start)
        assert moved > 0.1
        assert distance(ends[name], {key: weight.detach() for key, weight in weights.items()}) <= 1e-6 * moved
    assert distance(ends["AdamW"], ends["Adam"]) > 0.05 * distance(ends["AdamW"], start)


def test_weight_decay_pulls_weights_towards_zero_by_rate_times_decay(assemble: Assemble) -> None:
    import torch

    settings: dict[str, Any] = {"train": 4, "validation": 0, "epochs": 1, "learning_rate": 1e-2}
    (_, start, plain), (_, same, pulled) = (
        watched(assemble(weight_decay=decay, **settings)) for decay in (0.0, 0.5)
    )  # fmt: skip
    for name in start:
        torch.testing.assert_close(start[name], same[name], rtol=0, atol=0)
        torch.testing.assert_close(plain[name] - pulled[name], 1e-2 * 0.5 * start[name], rtol=1e-3, atol=1e-7)


def test_the_gradient_is_clipped_to_the_norm_that_was_set(assemble: Assemble) -> None:
    import torch

    seen: list[float] = []

    def look(pieces: Any) -> None:
        from transformers import TrainerCallback

        class Look(TrainerCallback):  # type: ignore[misc]
            def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                norms = [p.grad.norm() for p in kwargs["model"].parameters() if p.grad is not None]
                seen.append(float(torch.stack(norms).norm()))

        pieces.trainer.add_callback(Look())
        pieces.fit()

    look(assemble(max_grad_norm=0.01, epochs=1, train=4))
    look(assemble(max_grad_norm=0.0, epochs=1, train=4))
    assert seen[0] == pytest.approx(0.01, rel=1e-3)
    assert seen[1] > 0.1


def test_without_shuffle_every_epoch_takes_the_samples_in_the_datasets_own_order(assemble: Assemble) -> None:
    def met(pieces: Any) -> list[list[str]]:
        """The samples' names, epoch by epoch, as the loop meets them."""
        taken: list[str] = []
        whole = pieces.trainer.get_batch_samples

        def noting(*args: Any) -> Any:
            batches = whole(*args)
            taken.extend(pieces.trainer._ids)
            return batches

        pieces.trainer.get_batch_samples = noting
        pieces.fit()
        return [taken[:8], taken[8:]]

    given = assemble(train=8, epochs=2, shuffle=False)
    names = [record.id for record in given.train.records]
    assert met(given) == [names, names]
    first, second = met(assemble(train=8, epochs=2))
    assert sorted(first) == sorted(second) == sorted(names)
    assert len({tuple(names), tuple(first), tuple(second)}) == 3
