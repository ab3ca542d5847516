"""Pictures as features: on every architecture that takes them, the model answers as it does to pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import BUILDERS, make_tiny

from airtune.catalog.registry import load_catalog
from airtune.errors import DefectError

pytestmark = pytest.mark.training

# Two entries share a model with another one; the second Gemma 4 is another size of one entry.
KEYS = [key for key in BUILDERS if key not in ("cosmosreason1", "cosmosreason2", "idefics3", "nvila")]


def entry_of(key: str) -> Any:
    return load_catalog()["gemma4" if key == "gemma4-experts" else key]


def loaded(key: str, folder: Path, run: Any) -> tuple[Any, Any, Any]:
    from airtune.modeling.conversation import stop_token_ids
    from airtune.modeling.encoding import Encoder
    from airtune.modeling.loading import load_model, load_processor

    entry = entry_of(key)
    model = load_model(make_tiny(key, folder), run, entry=entry, for_training=True).requires_grad_(False)
    processor = load_processor(folder, entry=entry)
    return model, entry, Encoder(processor, stop_token_ids(processor, model.generation_config))


def drawn(width: int, height: int) -> Any:
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (width, height), (230, 230, 230))
    ImageDraw.Draw(picture).rectangle((4, 4, width // 2, height // 2), fill=(200, width % 256, 40))
    return picture


@pytest.mark.parametrize("key", KEYS)
def test_features_made_before_give_the_logits_of_pixels(key: str, tmp_path: Path, resolved: Callable[..., Any]) -> None:
    import torch

    from airtune.modeling.vision_features import picture_encoder
    from airtune.training.rows import padded_row

    run = resolved()
    model, entry, encoder = loaded(key, tmp_path / key, run)
    model.train()
    seeing = picture_encoder(model, run, entry)
    assert seeing is not None
    samples = [
        encoder.encode("Answer.", f"What? ({number})", pictures, "red")
        for number, pictures in enumerate([[drawn(64, 64)], [drawn(96, 40), drawn(30, 75)], []])
    ]
    for rows in (samples[:2], samples):
        row = padded_row(encoder, rows)
        with torch.no_grad():
            encoded = row.encoded(seeing)
            model.eval()
            pixels = model(**row.model_inputs(), use_cache=False).logits
            towers = runs_from_now(model, entry)
            features = model(**encoded.model_inputs(), use_cache=False).logits
        real = row.inputs["attention_mask"].bool()
        torch.testing.assert_close(features[real], pixels[real], rtol=1e-4, atol=1e-4)
        assert towers == []
    # The features matter: with others the logits are others.
    swapped = padded_row(encoder, samples[:1]).encoded(seeing)
    blank = {**swapped.pictures[0], "features.pooled": torch.zeros_like(swapped.pictures[0]["features.pooled"])}
    with torch.no_grad():
        inputs = swapped.model_inputs()
        with_picture = model(**inputs, use_cache=False).logits
        without = model(**type(swapped)(swapped.inputs, (blank,), (), swapped.sources, swapped.targets).model_inputs(),
                        use_cache=False).logits  # fmt: skip
    assert (with_picture - without).abs().max() > 1e-3


def runs_from_now(model: Any, entry: Any) -> list[str]:
    """Takes note, from now on, of every vision module that runs."""
    ran: list[str] = []
    for name, module in model.named_modules():
        if entry.part_of(name) in ("vision", "projector"):
            module.register_forward_pre_hook(lambda module, inputs, name=name: ran.append(name))
    return ran


def test_a_tower_that_learns_has_no_features_to_keep(tmp_path: Path, resolved: Callable[..., Any]) -> None:
    from airtune.modeling.vision_features import PictureEncoder, picture_encoder

    run = resolved(training_mode="SFT")
    model, entry, _ = loaded("qwen3vl", tmp_path / "tiny", run)
    assert picture_encoder(model, run, entry) is None
    model.requires_grad_(True)
    with pytest.raises(DefectError, match="frozen vision tower"):
        PictureEncoder(model, entry)


def test_a_picture_is_encoded_once_without_gradients_and_without_dropout(
    tmp_path: Path, resolved: Callable[..., Any]
) -> None:
    import torch

    from airtune.modeling.vision_features import POOLED, PictureEncoder
    from airtune.training.rows import padded_row

    run = resolved()
    model, entry, encoder = loaded("qwen3vl", tmp_path / "tiny", run)
    seeing = PictureEncoder(model, entry)
    ran = runs_from_now(model, entry)
    sample = encoder.encode("Answer.", "What?", [drawn(64, 64)], "red")
    row = padded_row(encoder, [sample, sample, sample], ["same", "same", "other"])
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        encoded = row.encoded(seeing)
    assert ran.count("model.visual.patch_embed") == 2
    assert not model.model.visual.training
    features = [picture[POOLED] for picture in encoded.pictures]
    assert features[0] is features[1]
    assert torch.equal(features[0], features[2])
    assert features[0].dtype == torch.float32
    assert not features[0].requires_grad
    assert encoded.encoded(seeing) is not encoded
    assert ran.count("model.visual.patch_embed") == 2, "what is encoded is not encoded again"
