from __future__ import annotations

import math

import pytest

from airtune.training.schedule import rate_factor, total_steps, warmup_steps


def test_each_epoch_ends_with_a_step_also_when_its_last_batch_is_not_full() -> None:
    assert total_steps(100, epochs=3, effective_batch=4) == 75
    assert total_steps(101, epochs=3, effective_batch=4) == 78
    assert total_steps(3, epochs=2, effective_batch=16) == 2


def test_the_warm_up_rises_in_a_straight_line_and_a_share_is_rounded_up() -> None:
    assert warmup_steps(0.1, 20) == 2
    assert warmup_steps(0.1, 21) == 3
    assert warmup_steps(0.0, 21) == 0
    rates = [rate_factor("cosine", step, warmup=4, total=20) for step in range(5)]
    assert rates == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])


def test_constant_stays_linear_falls_to_nothing_and_cosine_falls_along_a_cosine() -> None:
    assert {rate_factor("constant", step, warmup=0, total=10) for step in range(10)} == {1.0}
    assert [rate_factor("linear", step, warmup=0, total=4) for step in range(5)] == [1, 0.75, 0.5, 0.25, 0]
    for step in range(2, 13):
        wanted = (1 + math.cos(math.pi * (step - 2) / 10)) / 2
        assert rate_factor("cosine", step, warmup=2, total=12) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.training
@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 7])
def test_the_schedules_are_those_of_transformers(schedule: str, warmup: int) -> None:
    import torch
    from transformers import get_scheduler

    name = "constant_with_warmup" if schedule == "constant" else schedule
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=50)
    for step in range(50):
        ours = rate_factor(schedule, step, warmup=warmup, total=50)  # type: ignore[arg-type]
        assert ours == pytest.approx(theirs.get_last_lr()[0], abs=1e-12), step
        optimizer.step()
        theirs.step()
