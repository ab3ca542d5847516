"""The platform's tables."""

from __future__ import annotations

import pytest

from airtune.resolution import tables
from airtune.runspec.tasks import Task


@pytest.mark.parametrize(("images", "epochs"), [(1, 150), (99, 150), (100, 100), (1000, 100), (1001, 50), (10**6, 50)])
def test_epochs_follow_the_number_of_training_images(images: int, epochs: int) -> None:
    value, reason = tables.epochs(images)
    assert value == epochs
    assert str(images) in reason


@pytest.mark.parametrize(
    ("mode", "band", "rate"),
    [
        ("LoRA", "Small", 1e-4), ("LoRA", "Medium", 1e-4), ("LoRA", "Large", 5e-5),
        ("SFT", "Small", 5e-5), ("SFT", "Medium", 3e-5), ("SFT", "Large", 1e-5),
    ],
)  # fmt: skip
def test_the_learning_rate_follows_size_and_mode(mode: str, band: str, rate: float) -> None:
    assert tables.learning_rate(mode, band)[0] == rate  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("band", "memory", "batch", "accumulation"),
    [
        ("Small", 8.6, 2, 4), ("Small", 16.0, 8, 1), ("Small", 24.0, 16, 1), ("Small", 40.0, 32, 1),
        ("Small", None, 8, 1),
        ("Medium", 15.8, 2, 4), ("Medium", 25.2, 4, 2), ("Medium", 85.0, 8, 1), ("Medium", None, 2, 4),
        ("Large", 17.0, 1, 8), ("Large", 24.0, 2, 4), ("Large", 80.0, 4, 2),
    ],
)  # fmt: skip
def test_batch_and_accumulation_follow_size_and_gpu(
    band: str, memory: float | None, batch: int, accumulation: int
) -> None:
    assert tables.batch_size(band, memory)[0] == batch
    assert tables.gradient_accumulation(batch)[0] == accumulation


@pytest.mark.parametrize(
    ("task", "tokens", "temperature"),
    [(Task.PHRASE_GROUNDING, 512, 1.0), (Task.VQA, 256, 0.7), (Task.FREEFORM, 512, 1.0)],
)
def test_sampling_follows_the_task(task: Task, tokens: int, temperature: float) -> None:
    assert tables.max_new_tokens(task, None)[0] == tables.max_new_tokens(task, 90.0)[0] == tokens
    assert tables.temperature(task)[0] == temperature


@pytest.mark.parametrize(("characters", "tokens"), [(None, 512), (5.0, 128), (500.0, 512), (1e9, 4096)])
def test_generic_answers_may_be_twice_as_long_as_the_datas(characters: float | None, tokens: int) -> None:
    assert tables.max_new_tokens(Task.GENERIC, characters)[0] == tokens


@pytest.mark.parametrize(
    ("task", "characters", "tokens"),
    [(Task.PHRASE_GROUNDING, 1500.0, 2048), (Task.VQA, 2000.0, 1600), (Task.FREEFORM, 1e9, 4096)],
)
def test_answers_that_are_longer_than_usual_raise_the_limit(task: Task, characters: float, tokens: int) -> None:
    found, why = tables.max_new_tokens(task, characters)
    assert found == tokens
    assert f"a long answer in the data ({characters:g} characters)" in why


def test_stopping_early_needs_validation_and_enough_epochs() -> None:
    assert tables.early_stopping_patience(100, 0)[0] == 0
    assert tables.early_stopping_patience(30, 10)[0] == 0
    assert tables.early_stopping_patience(31, 10)[0] == 15


def test_pictures_are_limited_by_the_processor_but_never_above_a_million_pixels() -> None:
    assert tables.max_pixels(None)[0] is None
    assert tables.max_pixels(16384)[0] == 16384
    assert tables.max_pixels(12_845_056)[0] == 1024 * 1024


def test_activations_are_recomputed_when_the_model_is_large_for_the_gpu() -> None:
    assert tables.gradient_checkpointing(500_000, None)[0] is False
    assert tables.gradient_checkpointing(8 * 10**9, None)[0] is True
    assert tables.gradient_checkpointing(2 * 10**9, 80.0)[0] is False
    assert tables.gradient_checkpointing(None, 80.0)[0] is True
