"""Allow, Warn or Deny, and the cheapest change that would make a run fit."""

from __future__ import annotations

from typing import Any

from airtune.catalog import registry
from airtune.resolution.verdict import judge
from airtune.runspec.resolved import ResolvedRun

ENTRY = registry.entry("qwen3vl")


def need(run: ResolvedRun, memory_gb: float | None) -> int:
    """A simple machine: weights 8 GB, 2 in 4 bit; a sample 4 GB, 1 with checkpointing; SFT 40 GB more."""
    weights = 2 if run.quantization_enabled else 8
    samples = run.batch_size * (1 if run.gradient_checkpointing else 4)
    return (weights + samples + (40 if run.training_mode == "SFT" else 0)) * 10**9


def test_what_fits_is_allowed(run_of: Any) -> None:
    verdict = judge(run_of(batch_size=2), ENTRY, 24.0, need)
    assert (verdict.verdict, verdict.needed_gb, verdict.change, verdict.smallest_card_gb) == ("Allow", 16.0, None, 24)
    assert "room for a larger batch" not in verdict.reason
    assert "room for a larger batch" in judge(run_of(batch_size=2), ENTRY, 80.0, need).reason


def test_what_is_tight_is_warned_of_with_the_cheapest_change(run_of: Any) -> None:
    verdict = judge(run_of(batch_size=4), ENTRY, 25.0, need)  # 24 GB
    assert verdict.verdict == "Warn"
    assert "tight" in verdict.reason
    assert verdict.change == {"batchSize": 2, "gradientAccumulation": 2}
    assert verdict.automatic


def test_a_smaller_micro_batch_keeps_the_effective_batch_and_comes_first(run_of: Any) -> None:
    verdict = judge(run_of(batch_size=8, gradient_accumulation=2), ENTRY, 20.0, need)  # 40 GB
    assert (verdict.verdict, verdict.automatic) == ("Warn", True)
    assert verdict.change == {"batchSize": 2, "gradientAccumulation": 8}


def test_gradient_checkpointing_comes_after_the_batch(run_of: Any) -> None:
    verdict = judge(run_of(batch_size=2), ENTRY, 11.0, need)
    assert verdict.change == {"batchSize": 1, "gradientAccumulation": 2, "gradientCheckpointing": True}
    assert verdict.verdict == "Warn"


def test_four_bit_is_for_a_person_to_decide(run_of: Any) -> None:
    verdict = judge(run_of(batch_size=1, gradient_checkpointing=True), ENTRY, 8.0, need)  # 9 GB, 3 in 4 bit
    assert (verdict.verdict, verdict.automatic) == ("Deny", False)
    assert verdict.change == {"quantization": "NF4"}
    assert "one sample at a time with gradient checkpointing still takes 9.0 GB" in verdict.reason


def test_what_a_change_makes_needless_is_not_asked_for(run_of: Any) -> None:
    verdict = judge(run_of(batch_size=1), ENTRY, 8.5, need)  # 12 GB; with 4 bit alone 6
    assert verdict.change == {"quantization": "NF4"}
    assert "by itself" not in str(verdict.change_in_words)
    crowded = judge(run_of(batch_size=4), ENTRY, 8.0, need)  # with 4 bit alone still 18
    assert crowded.change == {"quantization": "NF4"}
    assert "training then lowers the micro-batch by itself" in str(crowded.change_in_words)


def test_full_fine_tuning_becomes_lora_before_the_model_changes(run_of: Any) -> None:
    verdict = judge(run_of(training_mode="SFT", batch_size=1), ENTRY, 24.0, need)
    assert (verdict.verdict, verdict.change) == ("Deny", {"trainingMode": "LoRA"})
    small = judge(run_of(training_mode="SFT", batch_size=1), ENTRY, 6.7, need)
    assert small.change == {"trainingMode": "LoRA", "quantization": "NF4"}


def test_what_no_setting_helps_needs_another_model_or_gpu(run_of: Any) -> None:
    verdict = judge(run_of(batch_size=1, quantization_enabled=True), ENTRY, 2.0, need)
    assert (verdict.verdict, verdict.change) == ("Deny", None)
    assert verdict.change_in_words == "a smaller model, or a GPU with 8 GB"


def test_without_a_gpu_there_is_no_verdict(run_of: Any) -> None:
    verdict = judge(run_of(batch_size=1), ENTRY, None, need)
    assert (verdict.verdict, verdict.smallest_card_gb) == (None, 16)
