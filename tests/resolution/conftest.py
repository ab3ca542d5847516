"""Runs of the tiny base model, with a dataset whose facts are given."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airtune.configs import configs_root
from airtune.resolution.data_facts import DataFacts
from airtune.runspec.document import RunDocument
from airtune.runspec.resolved import ResolvedRun, Sampling
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

EXAMPLES = Path(__file__).parents[1] / "runspec" / "examples"


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own, no GPU, no rule, and no network for the hub's client."""
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", "")
    for name in ("AIRTUNE_GPU_MEMORY_GB", "AIRTUNE_ALLOWED_SOURCES", "AIRTUNE_ALLOW_REMOTE_CODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def small() -> dict[str, Any]:
    """The least that a run.json holds."""
    return dict(json.loads((EXAMPLES / "small.json").read_text(encoding="utf-8")))


@pytest.fixture
def platform() -> dict[str, Any]:
    """What the platform writes."""
    return dict(json.loads((EXAMPLES / "platform.json").read_text(encoding="utf-8")))


@pytest.fixture
def base_uri() -> str:
    """The tiny base model: a qwen3_vl."""
    return (configs_root() / "demo" / "tiny-vlm").as_uri()


@pytest.fixture
def dataset_uri(tmp_path: Path) -> str:
    """A folder with something in it."""
    folder = tmp_path / "data set"
    folder.mkdir()
    (folder / "metadata.json").write_text("{}")
    return folder.as_uri()


@pytest.fixture
def root_uri(tmp_path: Path) -> str:
    """The store's root."""
    return (tmp_path / "store").as_uri()


def spread(value: float) -> dict[str, float]:
    """As facts.json has the spread of a number."""
    return {"least": value, "mean": value, "median": value, "p95": value, "most": value}


@pytest.fixture
def facts(dataset_uri: str) -> dict[str, Any]:
    """The part of facts.json that the resolver reads."""
    return {
        "root_uri": dataset_uri,
        "format": "vi",
        "train_images": 300,
        "train_samples": 600,
        "validation_samples": 60,
        "target_characters": spread(30),
        "prompt_characters": spread(20),
        "image_pixels": spread(4096),
        "images_per_sample": 1,
    }


@pytest.fixture
def data(facts: dict[str, Any]) -> DataFacts:
    """The same, read."""
    return DataFacts.from_json(facts)


Make = Callable[..., RunDirectory]


@pytest.fixture
def make_run(small: dict[str, Any], root_uri: str, facts: dict[str, Any], dataset_uri: str, base_uri: str) -> Make:
    """Makes a run directory with a validated dataset; keyword arguments are overrides."""

    def make(run: dict[str, Any] | None = None, run_id: str = "r1", **overrides: Any) -> RunDirectory:
        given = {"dataset": dataset_uri, "base-model": base_uri, **overrides}
        document = RunDocument.from_object(run or small).with_overrides(given)
        made = RunDirectory.create(root_uri, run_id, document.to_json())
        made.write_json(layout.FACTS, facts)
        return made

    return make


RunOf = Callable[..., ResolvedRun]


@pytest.fixture(scope="session")
def run_of() -> RunOf:
    """A resolved run with any value changed: ``run_of(batch_size=2)``."""

    def make(**changes: Any) -> ResolvedRun:
        values: dict[str, Any] = {
            "name": "x-v1", "task": "vqa", "system_prompt": "Answer.", "system_prompt_source": "user",
            "user_prompt": None, "base_model": "Qwen/Qwen3-VL-8B-Instruct", "architecture": "qwen3vl", "size": "8B",
            "parameters": None, "training_mode": "LoRA", "quantization_enabled": False, "quantization_type": "NF4",
            "precision": "BFloat16", "epochs": 2, "learning_rate": 1e-4, "batch_size": 4, "gradient_accumulation": 1,
            "optimizer": "AdamW", "learning_rate_schedule": "constant", "warmup_ratio": 0.0, "weight_decay": 0.0,
            "max_grad_norm": 1.0, "seed": 0, "early_stopping_patience": None, "lora_rank": 16, "lora_alpha": 32,
            "lora_dropout": 0.05, "max_pixels": None, "max_sequence_length": None, "checkpoint_every_steps": None,
            "checkpoint_every_minutes": None, "checkpoints_kept": 2, "gradient_checkpointing": False,
            "dataset_source": "file:///unused", "dataset_format": "vi",
            "sampling": Sampling(max_new_tokens=24, top_k=0, top_p=1.0, temperature=0.0, repetition_penalty=1.0),
        }  # fmt: skip
        return ResolvedRun(**{**values, **changes})

    return make
