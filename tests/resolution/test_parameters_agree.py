"""What the resolver counts from a base model's files is what training holds and trains, for every architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airtune.catalog import registry
from airtune.resolution.base_model import read_base_model
from airtune.resolution.parameters import count

pytestmark = pytest.mark.training

FORMS = {
    "LoRA": {"training_mode": "LoRA"},
    "NF4": {"training_mode": "LoRA", "quantization_enabled": True},
    "SFT": {"training_mode": "SFT"},
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tiny instance of an architecture, made once."""
    from tiny_models import make_tiny

    made: dict[str, Path] = {}

    def make(key: str) -> Path:
        if key not in made:
            made[key] = make_tiny(key, tmp_path_factory.mktemp(key) / "model")
        return made[key]

    return make


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", sorted(registry.load_catalog()))
def test_parts_adapters_and_four_bit_layers_are_counted_as_training_has_them(
    key: str, form: str, tiny: Any, run_of: Any
) -> None:
    import torch

    from airtune.modeling.adapters import add_adapters
    from airtune.modeling.loading import load_model
    from airtune.modeling.parts import count_by_part

    entry = registry.entry(key)
    if FORMS[form]["training_mode"] not in entry.modes:
        pytest.skip(f"{key} is trained with {', '.join(entry.modes)} only")
    folder = tiny(key)
    base = read_base_model(folder.as_uri(), where="baseModel")
    run = run_of(base_model=folder.as_uri(), architecture=key, precision="Float32", lora_dropout=0.0, **FORMS[form])
    model = load_model(folder, run, entry=entry, for_training=True, device=torch.device("cpu"))
    model = add_adapters(model, run, entry) if run.training_mode == "LoRA" else model.requires_grad_(True)
    real = {part: vars(found) for part, found in count_by_part(model, entry).items()}
    mine = {part: vars(found) for part, found in count(run, entry, base.tensors).parts.items()}
    for found in mine.values():
        del found["weight_bytes"]
    assert mine == real
