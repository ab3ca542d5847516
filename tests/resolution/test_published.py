"""The published dimensions that airtune keeps for models that cannot be looked at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airtune.catalog.registry import load_catalog
from airtune.configs import configs_root
from airtune.resolution.base_model import read_published
from airtune.resolution.shapes import parameters_from

PUBLISHED = sorted((configs_root() / "published").glob("*.json"))
SIZES = {size.hub: size for entry in load_catalog().values() for size in entry.sizes.values()}
ONE_OF_EACH_FAMILY = [
    "Qwen--Qwen2.5-VL-3B-Instruct",
    "Qwen--Qwen2.5-VL-7B-Instruct",
    "Qwen--Qwen3-VL-2B-Instruct",
    "Qwen--Qwen3-VL-8B-Instruct",
    "OpenGVLab--InternVL3_5-8B-HF",
    "OpenGVLab--InternVL3_5-38B-HF",
    "llava-hf--llama3-llava-next-8b-hf",
]


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_the_dimensions_give_the_published_number_of_parameters(path: Path) -> None:
    hub = path.stem.replace("--", "/")
    assert read_published(hub).parameters == pytest.approx(SIZES[hub].parameters, rel=0.002)


def test_of_other_models_nothing_is_known() -> None:
    found = read_published("google/gemma-4-E4B-it")
    assert (found.tensors, found.parameters, found.known_from) == ((), None, None)


@pytest.mark.training
def test_names_and_shapes_are_those_of_the_model_that_transformers_builds() -> None:
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    for name in ONE_OF_EACH_FAMILY:
        raw = json.loads((configs_root() / "published" / f"{name}.json").read_text())
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**raw))
        model.tie_weights()
        real = {found: tuple(parameter.shape) for found, parameter in model.named_parameters()}
        assert {tensor.name: tensor.shape for tensor in parameters_from(raw)} == real, name
