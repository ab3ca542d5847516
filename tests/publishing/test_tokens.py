"""The control tokens, read from files, against what the loaded tokenizer says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airtune.configs import configs_root
from airtune.publishing.tokens import TokenIds, token_ids

TINY = configs_root() / "demo" / "tiny-vlm"


@pytest.mark.training
def test_they_are_those_of_the_loaded_tokenizer() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(TINY))
    found = token_ids(TINY)
    assert found == TokenIds(eos=(tokenizer.eos_token_id,), pad=tokenizer.pad_token_id, bos=tokenizer.bos_token_id)


def _write(folder: Path, **files: Any) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_the_tokenizers_own_end_comes_first_and_the_generation_configs_follow(tmp_path: Path) -> None:
    folder = _write(
        tmp_path,
        tokenizer_config={"eos_token": {"content": "<|im_end|>"}, "pad_token": "<|endoftext|>", "bos_token": None},
        tokenizer={
            "model": {"vocab": {"a": 0}},
            "added_tokens": [{"id": 151643, "content": "<|endoftext|>"}, {"id": 151645, "content": "<|im_end|>"}],
        },
        generation_config={"eos_token_id": [151643, 151645], "bos_token_id": 151643},
    )
    assert token_ids(folder) == TokenIds(eos=(151645, 151643), pad=151643, bos=151643)


def test_older_layouts_are_understood(tmp_path: Path) -> None:
    folder = _write(
        tmp_path,
        special_tokens_map={"eos_token": "</s>", "bos_token": "<s>", "pad_token": {"content": "<pad>"}},
        tokenizer_config={"added_tokens_decoder": {"32000": {"content": "<pad>"}}},
        tokenizer={"model": {"vocab": [["<unk>", 0.0], ["<s>", 0.0], ["</s>", 0.0]]}},
    )
    assert token_ids(folder) == TokenIds(eos=(2,), pad=32000, bos=1)


def test_a_tokenizer_without_json_falls_back_on_the_models_configuration(tmp_path: Path) -> None:
    folder = _write(tmp_path, config={"text_config": {"eos_token_id": 7, "pad_token_id": -1}, "bos_token_id": True})
    assert token_ids(folder) == TokenIds(eos=(7,), pad=None, bos=None)
    assert token_ids(tmp_path / "absent") == TokenIds(eos=(), pad=None, bos=None)
