"""A resolved run of the tiny base, its model and processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airtune.configs import configs_root
from airtune.runspec.resolved import ResolvedRun, Sampling

TINY = configs_root() / "demo" / "tiny-vlm"


@pytest.fixture
def resolved() -> Callable[..., ResolvedRun]:
    """``resolved(precision="BFloat16")`` is a resolved run with that value and otherwise plain ones."""

    def make(**changes: Any) -> ResolvedRun:
        values: dict[str, Any] = {
            "name": "shapes", "task": "vqa", "system_prompt": "Answer.", "system_prompt_source": "user",
            "user_prompt": None, "base_model": TINY.as_uri(), "architecture": "qwen3vl", "size": "tiny",
            "parameters": None, "training_mode": "LoRA", "quantization_enabled": False, "quantization_type": "NF4",
            "precision": "Float32", "epochs": 1, "learning_rate": 1e-3, "batch_size": 2, "gradient_accumulation": 1,
            "optimizer": "AdamW", "learning_rate_schedule": "constant", "warmup_ratio": 0.0, "weight_decay": 0.0,
            "max_grad_norm": 1.0, "seed": 3, "early_stopping_patience": None, "lora_rank": 4, "lora_alpha": 8,
            "lora_dropout": 0.0, "max_pixels": None, "max_sequence_length": None, "checkpoint_every_steps": None,
            "checkpoint_every_minutes": None, "checkpoints_kept": 2, "gradient_checkpointing": False,
            "sampling": Sampling(max_new_tokens=8, top_k=0, top_p=1.0, temperature=0.0, repetition_penalty=1.0),
            "dataset_source": "file:///unused", "dataset_format": "vi",
        }  # fmt: skip
        return ResolvedRun(**{**values, **changes})

    return make
