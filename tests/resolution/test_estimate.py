"""What a whole estimate says: rows cut to a GPU, the pace, and what is not known."""

from __future__ import annotations

from typing import Any

import pytest

from airtune.catalog import registry
from airtune.resolution import pace
from airtune.resolution.accelerators import find
from airtune.resolution.base_model import BaseModel, read_published
from airtune.resolution.device import Device
from airtune.resolution.estimate import NOT_KNOWN, cut_rows, estimate, packing_of
from airtune.resolution.lengths import Lengths, Packing, Sample, epoch
from airtune.resolution.parameters import count
from airtune.resolution.picture_tokens import Picture

ENTRY = registry.entry("qwen3vl")
BASE = read_published("Qwen/Qwen3-VL-8B-Instruct")
LENGTHS = Lengths(
    750,
    tuple(Sample(((f"{number // 4}", Picture(1024, 4096)),), 25, 20) for number in range(64)),
    exact=True,
)


def gpu(memory: float, name: str | None = None) -> Device:
    return Device(name, memory, None, 1, "test")


def test_a_model_that_cannot_be_looked_at_says_so(run_of: Any) -> None:
    found = estimate(run_of(), ENTRY, BaseModel("google/gemma-4-E4B-it"), LENGTHS, gpu(24))
    assert found["missing"] == NOT_KNOWN
    assert (found["memory"], found["pace"], found["verdict"], found["trained_parameters"]) == (None,) * 4
    assert found["steps"] == 2 * 16


def test_rows_are_cut_to_the_gpu_and_never_below_the_longest_sample(run_of: Any) -> None:
    run = run_of(batch_size=32, quantization_enabled=True, gradient_checkpointing=True)
    packing = packing_of(ENTRY, BASE, count(run, ENTRY, BASE.tensors))
    assert packing is not None
    on = {size: cut_rows(run, ENTRY, BASE, LENGTHS, Packing(), size) for size in (10.0, 14.0, 180.0)}
    tokens = [found.row_tokens for found in on.values() if found is not None]
    assert tokens == sorted(tokens)
    assert tokens[0] >= 750 + 1024 + 45
    assert tokens[-1] == Packing().row_tokens
    assert cut_rows(run, ENTRY, BASE, LENGTHS, None, 10.0) is None


def test_an_8b_in_lora_and_4_bit_fits_24_gb_and_its_full_fine_tuning_does_not(run_of: Any) -> None:
    lora = run_of(batch_size=4, quantization_enabled=True, gradient_checkpointing=True)
    assert estimate(lora, ENTRY, BASE, LENGTHS, gpu(24))["verdict"]["verdict"] == "Allow"
    full = estimate(run_of(training_mode="SFT"), ENTRY, BASE, LENGTHS, gpu(80))["verdict"]
    assert (full["verdict"], full["change"]) == ("Deny", {"trainingMode": "LoRA"})
    assert full["needed_gb"] > 16 * 8.767


def test_operations_and_seconds_by_hand(run_of: Any) -> None:
    run, steps = run_of(epochs=3), 48
    counted = count(run, ENTRY, BASE.tensors)
    drawn = epoch(LENGTHS, run, Packing())
    a100 = find("A100")
    found = pace.pace(run, ENTRY, BASE, counted, drawn, gpu=a100, steps=steps, cached=True)
    again = pace.pace(run, ENTRY, BASE, counted, drawn, gpu=a100, steps=steps, cached=False)
    assert found is not None
    assert again is not None
    linears = 36 * (4096 * (4096 + 1024) * 2 + 3 * 4096 * 12_288)
    attention = 4 * drawn.pairs * 4096 * 36 * 3
    scores = 2 * drawn.labels * 151_936 * 4096 * 2
    language = 2 * linears * drawn.tokens * 2 + 2 * counted.adapter_parameters * drawn.tokens * 3 + attention + scores
    rate = 312e12 * pace.UTILISATION
    tower = (again.seconds - found.seconds) * rate / 2
    assert tower == pytest.approx(
        2 * 0.576e9 * 64 * 4096 / 4, rel=0.35
    )  # 16 pictures of 4,096 patches, some 0.58e9 weights
    assert found.operations == pytest.approx(language + tower, rel=1e-9)
    passing = pace.PASS * drawn.passes * 3
    assert found.seconds == pytest.approx((3 * language + tower) / rate + passing, rel=1e-9)
    assert found.seconds_per_step == pytest.approx(found.seconds / steps)


def test_a_gpu_computes_float32_more_slowly_and_4_bit_too(run_of: Any) -> None:
    drawn = epoch(LENGTHS, run_of(), Packing())

    def seconds(**changes: Any) -> float:
        run = run_of(**changes)
        counted = count(run, ENTRY, BASE.tensors)
        found = pace.pace(run, ENTRY, BASE, counted, drawn, gpu=find("A100"), steps=1, cached=True)
        assert found is not None
        return found.seconds

    assert seconds() < seconds(quantization_enabled=True) < seconds(precision="Float32")
    assert seconds() < seconds(gradient_checkpointing=True) < seconds(training_mode="SFT", gradient_checkpointing=True)
