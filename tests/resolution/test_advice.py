"""Warnings: what a run may suffer from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airtune.catalog import registry
from airtune.resolution.architecture import Architecture
from airtune.resolution.base_model import read_base_model
from airtune.resolution.data_facts import DataFacts
from airtune.resolution.device import Device
from airtune.resolution.resolver import Surroundings, resolve_settings
from airtune.runspec.document import RunDocument

Warn = Callable[..., str]
NO_GPU = Device(None, None, None, 0, "test")


@pytest.fixture
def warn(small: dict[str, Any], base_uri: str, facts: dict[str, Any]) -> Warn:
    """All warnings of a run with these overrides, as one text."""

    def make(
        device: Device = NO_GPU, parameters: int | None = None, images: int = 300, side: int = 64, **overrides: Any
    ) -> str:
        base = read_base_model(base_uri, where="x")
        if parameters is not None:
            base = type(base)(**{**vars(base), "parameters": parameters})
        around = Surroundings(
            data=DataFacts.from_json({**facts, "train_images": images, "image_height": {"least": side}}),
            base=base,
            device=device,
            architecture=Architecture(registry.entry("qwen3vl"), "user", "test"),
        )
        given = {"name": "x-v1", "base-model": base_uri, **overrides}
        document = RunDocument.from_object(small).with_overrides(given)
        return "\n".join(resolve_settings(document, around).warnings)

    return make


def gpu(memory: float, capability: float = 8.6) -> Device:
    return Device("GPU", memory, capability, 1, "test")


def test_a_usual_run_has_only_the_warning_about_the_prompt(warn: Warn) -> None:
    assert warn().startswith("Datature's SDK serves freeform with its own system prompt")
    assert "\n" not in warn()


@pytest.mark.parametrize(
    ("overrides", "warning"),
    [
        ({"learning-rate": 0.004}, "learningRate 0.004 is outside the usual range of 1e-05 to 0.0001."),
        ({"batch-size": 64}, "batchSize 64 is outside the usual range of 1 to 32."),
        ({"gradient-accumulation": 16}, "gradientAccumulation 16 is outside the usual range"),
        ({"max-new-tokens": 2048}, "maxNewTokens 2048 is outside the usual range"),
        ({"top-k": 500}, "topK 500 is outside the usual range"),
        ({"temperature": 3}, "temperature 3 is outside the usual range"),
        ({"repetition-penalty": 1.6}, "1.5 or more usually harms"),
        ({"do-sample": True, "temperature": 0}, "answers are greedy"),
        ({"mode": "SFT"}, "LoRA first"),
        ({"mode": "SFT", "images": 150}, "SFT with 150 training images tends to overfit"),
        ({"quantization": "FP4"}, "NF4 loses less than FP4"),
        ({"precision": "Float32", "device": gpu(16)}, "meant for finding faults"),
        ({"precision": "Float16", "parameters": 7_000_000_000}, "Float16 with a model of 7B or more"),
        ({"precision": "Float16", "device": gpu(16)}, "more robust than Float16"),
        ({"device": gpu(16, 7.5)}, "older than Ampere"),
        ({"batch-size": 1, "gradient-accumulation": 1}, "The effective batch is 1"),
        ({"epochs": 300}, "300 epochs"),
        ({"early-stopping-metric": "token_f1", "early-stopping-patience": 0}, "earlyStoppingMetric token_f1 has no"),
        ({"max-new-tokens": 5}, "maxNewTokens 5 cuts long answers off: one in twenty of the data's answers have"),
        ({"device": gpu(0.6)}, "are needed and the GPU has 0.6; one sample at a time"),
        ({"device": gpu(0.6)}, "In this order: lower batchSize"),
        ({"device": gpu(80)}, "there is room for a larger batch"),
        ({"side": 9}, "The smallest picture has a side of 9 pixels, and one visual token covers 16"),
        ({"name": "cranes"}, "for example Freeform-4B-LoRA-v1"),
    ],
)  # fmt: skip
def test_a_risk_is_named(warn: Warn, overrides: dict[str, Any], warning: str) -> None:
    assert warning in warn(**overrides)


@pytest.mark.parametrize(
    ("overrides", "absent"),
    [
        ({"top-k": 0}, "topK"),
        ({"temperature": 0}, "temperature"),
        ({"side": 16}, "picture"),
        ({"learning-rate": 1e-4}, "learningRate"),
        ({"precision": "Float32"}, "finding faults"),
        ({"precision": "Float16", "parameters": 4_000_000_000}, "7B"),
        ({"mode": "SFT", "images": 200}, "overfit"),
        ({"task": "generic", "system-prompt": "Look."}, "Datature"),
    ],
)
def test_what_is_no_risk_is_not_named(warn: Warn, overrides: dict[str, Any], absent: str) -> None:
    assert absent not in warn(**overrides)


def test_a_slip_in_the_run_json_is_among_the_warnings(small: dict[str, Any], base_uri: str, data: DataFacts) -> None:
    small["spec"]["flow"]["blocks"][1]["settings"]["hyperparameters"] = {"epoch": 3}
    around = Surroundings(
        data, read_base_model(base_uri, where="x"), NO_GPU, Architecture(registry.entry("qwen3vl"), "user", "test")
    )
    warnings = resolve_settings(RunDocument.from_object(small), around).warnings
    assert any("epoch is not read: did you mean epochs?" in warning for warning in warnings)
