"""What a run starts from: the text of its samples, and the weights of its base."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_runs import TINY, train_to_end

pytestmark = pytest.mark.training

Assemble = Callable[..., Any]
MakeRun = Callable[..., Any]


def test_the_system_prompt_and_the_question_stand_in_the_tokens_of_every_sample(assemble: Assemble) -> None:
    for prompt in ("Count what you see.", "Speak Latin."):
        pieces = assemble(system_prompt=prompt, train=4)
        for index, record in enumerate(pieces.train.records):
            ids = pieces.train[index].encoded.tokens["input_ids"]
            text = pieces.encoder.processor.tokenizer.decode(ids)
            assert text.startswith(f"<|im_start|>system\n{prompt}<|im_end|>\n<|im_start|>user\n")
            assert f"{record.prompt}<|im_end|>\n<|im_start|>assistant\n{record.target}<|im_end|>" in text
    nothing = assemble(system_prompt="", train=4)
    ids = nothing.train[0].encoded.tokens["input_ids"]
    assert "system" not in nothing.encoder.processor.tokenizer.decode(ids)


def test_what_is_trained_begins_as_the_base_model_that_was_named(make_run: MakeRun, tmp_path: Path) -> None:
    """A rate so small that a run leaves its base as it was, but for the last bit."""
    import torch
    from safetensors.torch import load_file, save_file

    other = Path(shutil.copytree(TINY, tmp_path / "other"))
    weights = load_file(other / "model.safetensors")
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    save_file({**weights, name: weights[name] * 0.5}, other / "model.safetensors", metadata={"format": "pt"})
    left = {}
    for base in (TINY, other):
        directory = make_run(
            base_model=base.as_uri(), training_mode="SFT", train=4, validation=0, epochs=1, learning_rate=1e-12
        )
        train_to_end(directory)
        left[base] = load_file(directory.workspace / "model_full" / "model.safetensors")[name].float()
    torch.testing.assert_close(left[TINY], weights[name].float(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(left[other], weights[name].float() * 0.5, rtol=1e-5, atol=1e-7)


@pytest.mark.nightly
def test_a_setting_that_is_changed_changes_the_run(make_run: MakeRun) -> None:
    """Two runs that differ in one setting never leave the same adapter."""
    common: dict[str, Any] = {
        "train": 6, "validation": 0, "epochs": 2, "batch_size": 2, "warmup_ratio": 0.5, "weight_decay": 0.1,
    }  # fmt: skip
    changed: list[dict[str, Any]] = [
        {}, {"epochs": 3}, {"learning_rate": 5e-4}, {"batch_size": 3}, {"gradient_accumulation": 2},
        {"optimizer": "Adam"}, {"learning_rate_schedule": "linear"}, {"learning_rate_schedule": "cosine"},
        {"warmup_ratio": 0.25}, {"weight_decay": 0.0}, {"max_grad_norm": 0.05}, {"seed": 8}, {"lora_rank": 2},
        {"lora_alpha": 16}, {"lora_dropout": 0.1}, {"max_pixels": 32 * 32}, {"max_sequence_length": 55},
        {"system_prompt": "Answer."}, {"shuffle": False}, {"precision": "BFloat16"}, {"precision": "Float16"},
        {"quantization_enabled": True}, {"quantization_enabled": True, "quantization_type": "FP4"},
    ]  # fmt: skip
    left: dict[bytes, dict[str, Any]] = {}
    for change in changed:
        directory = make_run(**{**common, **change})
        train_to_end(directory)
        adapter = (directory.workspace / "model_adapter" / "adapter_model.safetensors").read_bytes()
        assert adapter not in left, (change, left[adapter])
        left[adapter] = change
    again = make_run(**common)
    train_to_end(again)
    assert left[(again.workspace / "model_adapter" / "adapter_model.safetensors").read_bytes()] == {}
