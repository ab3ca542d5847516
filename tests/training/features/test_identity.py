"""Whose features they are: whatever would change a feature's bits changes the name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_runs import TINY, resolved

pytestmark = pytest.mark.training


def described(folder: Path = TINY, *, adapters: bool = False, **changes: Any) -> dict[str, Any]:
    from airtune.catalog.registry import entry
    from airtune.modeling.adapters import add_adapters
    from airtune.modeling.loading import load_model, load_processor
    from airtune.training.features.identity import identity

    run = resolved(**changes)
    known = entry(run.architecture)
    model = load_model(folder, run, entry=known, for_training=True)
    if adapters:
        model = add_adapters(model, run, known)
    return identity(model, known, load_processor(folder, run, entry=known))


@pytest.fixture(scope="module")
def name() -> Callable[..., str]:
    """The name of the features of the tiny base with any setting changed."""
    from airtune.training.features.identity import name_of

    return lambda *args, **changes: name_of(described(*args, **changes))


def test_the_same_model_and_settings_have_the_same_features(name: Callable[..., str]) -> None:
    assert name() == name()
    assert name(adapters=True, lora_rank=2, seed=9, learning_rate=1e-5) == name(), "adapters see no picture"
    assert name(quantization_enabled=True) == name(), "4 bit leaves tower and projector as they are"


@pytest.mark.parametrize(
    "changes", [{"precision": "BFloat16"}, {"precision": "Float16"}, {"max_pixels": 48 * 48}, {"max_pixels": 32 * 32}]
)
def test_number_type_and_size_limit_change_them(name: Callable[..., str], changes: dict[str, Any]) -> None:
    assert name(**changes) != name()


def with_weight_changed(folder: Path, key: str) -> Path:
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(TINY, folder)
    weights = load_file(folder / "model.safetensors")
    assert key in weights, sorted(weights)[:40]
    weights[key].view(-1)[0] += 0.5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("key", "others"),
    [
        ("model.visual.blocks.0.attn.qkv.weight", True),
        ("model.visual.merger.linear_fc2.weight", True),
        ("model.language_model.layers.0.mlp.up_proj.weight", False),
    ],
)
def test_one_weight_of_the_tower_or_the_projector_changes_them_and_one_of_the_language_model_does_not(
    tmp_path: Path, name: Callable[..., str], key: str, others: bool
) -> None:
    assert (name(with_weight_changed(tmp_path / "changed", key)) != name()) == others


def test_what_an_image_processor_does_changes_them(tmp_path: Path) -> None:
    import copy

    from airtune.catalog.registry import entry
    from airtune.modeling.loading import load_model, load_processor
    from airtune.training.features.identity import identity, name_of

    run, known = resolved(), entry("qwen3vl")
    model, processor = load_model(TINY, run, entry=known, for_training=True), load_processor(TINY, run, entry=known)
    before = name_of(identity(model, known, processor))
    for setting, value in {"image_mean": [0.4, 0.5, 0.5], "do_rescale": False, "resample": 2}.items():
        other = copy.deepcopy(processor)
        setattr(other.image_processor, setting, value)
        assert name_of(identity(model, known, other)) != before, setting


def test_threads_and_libraries_are_part_of_it() -> None:
    import torch

    found = described()
    assert torch.__version__.startswith(found["libraries"]["torch"])
    assert set(found["libraries"]) == {"torch", "torchvision", "transformers", "pillow", "numpy"}
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert described()["device"] != found["device"]
    finally:
        torch.set_num_threads(threads)
