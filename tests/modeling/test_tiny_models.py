"""Every architecture's own processor, through airtune's encoder: lengths from sizes alone, labels, the stop token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import BUILDERS, EXTRA, make_tiny

from airtune.catalog.registry import load_catalog

pytestmark = pytest.mark.training

ANSWER = '{"vqa":{"answer":"red"}}'
SIZES = [(64, 64), (96, 40), (30, 75), (600, 500)]


def test_there_is_a_tiny_model_of_every_architecture() -> None:
    assert set(BUILDERS) == set(load_catalog()) | set(EXTRA)


@pytest.mark.parametrize("key", BUILDERS)
def test_a_sample_has_as_many_tokens_as_its_pictures_size_says(
    key: str, tmp_path: Path, resolved: Callable[..., Any]
) -> None:
    from PIL import Image

    from airtune.modeling.conversation import stop_token_ids
    from airtune.modeling.encoding import IGNORED, Encoder
    from airtune.modeling.loading import load_model, load_processor

    folder = make_tiny(key, tmp_path / key)
    entry = load_catalog()["gemma4" if key == "gemma4-experts" else "qwen3vl" if key in EXTRA else key]
    model = load_model(folder, resolved(), entry=entry, for_training=False)
    assert 100_000 < sum(p.numel() for p in model.parameters()) < 500_000
    processor = load_processor(folder, entry=entry)
    encoder = Encoder(processor, stop_token_ids(processor, model.generation_config))
    for width, height in SIZES:
        picture = Image.new("RGB", (width, height), (200, 30, 40))
        sample = encoder.encode("Answer with JSON.", "What colour?", [picture], ANSWER)
        predicted = encoder.prompt_length("Answer with JSON.", "What colour?", [(height, width)])
        assert sample.length == predicted + len(encoder.target_ids(ANSWER))
        assert sample.labels is not None
        learned = sample.labels[sample.labels != IGNORED].tolist()
        assert processor.tokenizer.decode(learned) == ANSWER + encoder.end.text
        assert tuple(learned[-len(encoder.end.ids) :]) == encoder.end.ids
