"""What is derived of models that the catalog does not have, held against transformers' own classes.

From a configuration and the names and shapes of weights alone: the models are made without memory for weights.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

pytestmark = pytest.mark.training

SMALL = {"num_hidden_layers": 2}
SEVEN = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def made(model_type: str) -> Any:
    """A model of this type: its own widths, few layers."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = AutoConfig.for_model(model_type)
    config = AutoConfig.for_model(
        model_type,
        text_config=config.get_text_config().to_dict() | SMALL | {"layer_types": None},
        vision_config=config.vision_config.to_dict() | SMALL,
    )
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)


@pytest.mark.parametrize(
    ("model_type", "vision", "projector", "language"),
    [
        ("smolvlm", "vision_model", "connector", "text_model"),
        ("paligemma", "vision_tower", "multi_modal_projector", "language_model"),
        ("llava", "vision_tower", "multi_modal_projector", "language_model"),
        ("mistral3", "vision_tower", "multi_modal_projector", "language_model"),
    ],
)
def test_every_weight_has_its_part_and_lora_reaches_the_language_model_alone(
    model_type: str, vision: str, projector: str, language: str
) -> None:
    from torch import nn

    from airtune.catalog.derivation import derive

    model = made(model_type)
    weights = [(name, tuple(weight.shape)) for name, weight in model.named_parameters()]
    entry = derive({**model.config.to_dict(), "architectures": [type(model).__name__]}, weights)
    assert (entry.key, entry.hf_class) == (re.sub("[^a-z0-9]", "", model_type), type(model).__name__)
    expected = {vision: "vision", projector: "projector", language: "language", "lm_head": "head"}
    for name, _ in weights:
        assert entry.part_of(name) == expected[name.removeprefix("model.").split(".")[0]], name
    assert set(entry.lora_targets) == SEVEN
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    reached = [name for name in linear if re.fullmatch(entry.lora_target_pattern, name)]
    assert len(reached) == 2 * len(SEVEN)
    assert all(entry.part_of(name) == "language" for name in reached)
    skipped = [name for name in linear if any(name.startswith(each) for each in entry.quantization_skip)]
    assert {entry.part_of(name) for name in linear if name not in skipped} == {"language"}
    assert not {entry.part_of(name) for name in skipped} & {"language"}
