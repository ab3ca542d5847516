from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from training_runs import train_to_end, training_rows

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


def closed_form(schedule: str, step: int, *, rate: float, warmup: int, total: int) -> float:
    """The learning rate in a step, counted from 1, as the documentation has it."""
    done = step - 1
    if done < warmup:
        return rate * done / warmup
    share = (done - warmup) / (total - warmup)
    return rate * {"constant": 1.0, "linear": 1 - share, "cosine": (1 + math.cos(math.pi * share)) / 2}[schedule]


@pytest.mark.training
@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_a_run_takes_epochs_x_ceil_of_n_by_effective_batch_steps_each_at_the_rate_of_the_closed_form(
    make_run: Callable[..., Any], schedule: str
) -> None:
    directory = make_run(
        train=11, validation=0, batch_size=2, gradient_accumulation=2, epochs=4, learning_rate=3e-4,
        learning_rate_schedule=schedule, warmup_ratio=0.25,
    )  # fmt: skip
    assert train_to_end(directory)["steps"] == 12 == 4 * math.ceil(11 / 4)
    rows = training_rows(directory, "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 13))
    for row in rows:
        wanted = closed_form(schedule, row["step"], rate=3e-4, warmup=3, total=12)
        assert row["learning_rate"] == pytest.approx(wanted, abs=1e-12), row["step"]


@pytest.mark.training
def test_the_rate_on_record_is_the_one_the_optimizer_has_and_the_weights_move_by_it(
    assemble: Callable[..., Any],
) -> None:
    import torch
    from transformers import TrainerCallback

    used: list[float] = []

    class Look(TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            used.append(kwargs["optimizer"].param_groups[0]["lr"])

    pieces = assemble(train=8, epochs=3, learning_rate_schedule="cosine", warmup_ratio=0.3)
    pieces.trainer.add_callback(Look())
    pieces.fit()
    rows = training_rows(pieces.trainer.around.directory, "metrics.jsonl")
    assert used == [row["learning_rate"] for row in rows]
    assert len(set(used)) > 4

    def moved(rate: float) -> Any:
        one = assemble(train=4, validation=0, epochs=1, learning_rate=rate)
        before = one.trained()
        one.fit()
        return torch.cat(
            [(value - before[name]).flatten() for name, value in one.trained().items() if "lora_B" in name]
        )

    # the first step of AdamW moves a weight by the rate
    assert float(moved(1e-3).abs().median()) == pytest.approx(1e-3, rel=1e-3)
    assert float(moved(2e-3).abs().median()) == pytest.approx(2e-3, rel=1e-3)


@pytest.mark.training
def test_a_step_takes_batch_size_x_accumulation_samples_in_so_many_micro_batches(assemble: Callable[..., Any]) -> None:
    def taken(pieces: Any) -> list[list[int]]:
        """Per step, the samples of each micro-batch."""
        steps: list[list[int]] = []
        whole = pieces.trainer.get_batch_samples

        def noting(*args: Any) -> Any:
            found = whole(*args)
            steps.append([len(batch["sample_ids"]) for batch in found[0]])
            return found

        pieces.trainer.get_batch_samples = noting
        pieces.fit()
        return steps

    def padded(**changes: Any) -> Any:
        return assemble(train=9, validation=0, packed=False, **changes)

    assert taken(padded(epochs=1, batch_size=3, gradient_accumulation=2)) == [[3, 3], [3]]
    assert taken(padded(epochs=1, batch_size=1, gradient_accumulation=6)) == [[1] * 6, [1] * 3]
    assert taken(padded(epochs=2, batch_size=6)) == [[6], [3]] * 2
    # samples that share rows: the whole step's together, its rows are bounded by their tokens
    assert taken(assemble(train=9, validation=0, epochs=1, batch_size=3, gradient_accumulation=2)) == [[6], [3]]
