"""Tokens of a picture by arithmetic are those of the processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airtune.resolution.base_model import read_base_model, read_published
from airtune.resolution.picture_tokens import PictureRule, scaled, tile_grid

SIZES = [(64, 64), (640, 480), (480, 640), (1000, 90), (33, 700), (1920, 1080), (4000, 3000), (17, 19), (448, 448)]


def test_the_qwen_family_scales_to_multiples_within_an_area() -> None:
    assert scaled(480, 640, 28, 3136, 12_845_056) == (476, 644)
    assert scaled(3000, 4000, 32, 65_536, 1_048_576) == (864, 1152)
    assert scaled(20, 20, 32, 65_536, 1_048_576) == (256, 256)


def test_internvl_cuts_into_the_tiles_nearest_in_shape() -> None:
    assert tile_grid(448, 448, 448, 1, 12) == (1, 1)
    assert tile_grid(1920, 1080, 448, 1, 12) == (4, 2)  # as near as (2, 1), and the picture is large enough
    assert tile_grid(900, 900, 448, 1, 12) == (2, 2)


def test_published_models_count_without_their_processor() -> None:
    qwen = PictureRule(read_published("Qwen/Qwen3-VL-8B-Instruct"), 1_048_576)(1024, 1024)
    assert (qwen.tokens, qwen.patches, qwen.exact) == (1024, 4096, True)
    intern = PictureRule(read_published("OpenGVLab/InternVL3_5-8B-HF"), None)(448, 448)
    assert (intern.tokens, intern.patches) == (258, 1025)
    unknown = PictureRule(read_published("google/gemma-4-E4B-it"), None)(448, 448)
    assert not unknown.exact


@pytest.mark.training
@pytest.mark.parametrize("key", ["qwen25vl", "qwen3vl", "qwen35", "internvl35", "llavanext"])
def test_tokens_are_those_of_the_processor(key: str, tmp_path: Path) -> None:
    from tiny_models import make_tiny

    from airtune.modeling.loading import image_tokens, load_processor, patch_edge

    folder = make_tiny(key, tmp_path / "model")
    base = read_base_model(folder.as_uri(), where="x")
    processor: Any = load_processor(folder)
    rule = PictureRule(base, None)
    assert [rule(width, height).tokens for width, height in SIZES] == [
        image_tokens(processor, [(height, width)])[0] for width, height in SIZES
    ]
    assert rule(640, 480).exact
    assert patch_edge(processor) is None or base.pixels_per_token in (patch_edge(processor) ** 2, None)
