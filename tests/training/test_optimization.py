from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.training

Assemble = Callable[..., Any]
SETTINGS = {"train": 8, "epochs": 10, "batch_size": 4, "learning_rate": 3e-3, "weight_decay": 0.3}


def by_hand(pieces: Any, optimizer: Any) -> dict[str, Any]:
    """The same training written out: the library's own loss, torch's own optimizer, 20 steps."""
    import torch

    run = pieces.run
    trained = [p for p in pieces.model.parameters() if p.requires_grad]
    chosen = optimizer(trained, lr=run.learning_rate, weight_decay=run.weight_decay)
    pieces.model.train()
    steps = 0
    for epoch in range(run.epochs):
        pieces.trainer.order.set_epoch(epoch)
        order = list(pieces.trainer.order)
        for start in range(0, len(order), run.batch_size):
            rows = [pieces.train[index].encoded for index in order[start : start + run.batch_size]]
            pieces.model(**pieces.encoder.collate(rows, padding="right")).loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, run.max_grad_norm)
            chosen.step()
            chosen.zero_grad()
            steps += 1
    assert steps == 20
    return pieces.trained()


def distance(one: dict[str, Any], other: dict[str, Any]) -> float:
    import torch

    return float(torch.cat([(one[name] - other[name]).flatten() for name in one]).norm())


def test_adamw_and_adam_are_torchs_own_for_20_steps_and_differ_under_weight_decay(assemble: Assemble) -> None:
    import torch

    results: dict[str, dict[str, Any]] = {}
    for name, optimizer in (("AdamW", torch.optim.AdamW), ("Adam", torch.optim.Adam)):
        pieces = assemble(optimizer=name, **SETTINGS)
        start = pieces.trained()
        pieces.fit()
        results[name] = pieces.trained()
        moved = distance(results[name], start)
        assert moved > 0.1
        reference = by_hand(assemble(optimizer=name, **SETTINGS), optimizer)
        assert distance(results[name], reference) <= 1e-4 * moved
    assert distance(results["AdamW"], results["Adam"]) > 0.05 * distance(results["AdamW"], start)


def test_the_rate_at_each_step_is_the_schedules(assemble: Assemble) -> None:
    from airtune.training.schedule import rate_factor

    pieces = assemble(learning_rate_schedule="cosine", warmup_ratio=0.25, epochs=4, train=8, batch_size=4)
    pieces.fit()
    rows = pieces.trainer.around.pace._metrics.rows
    assert [row["step"] for row in rows] == list(range(1, 9))
    for row in rows:
        wanted = 1e-3 * rate_factor("cosine", row["step"] - 1, warmup=2, total=8)
        assert row["learning_rate"] == pytest.approx(wanted, abs=1e-12)


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
