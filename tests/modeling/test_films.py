from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny_models import make_tiny

from airtune.configs import configs_root
from airtune.errors import SettingsError

pytestmark = pytest.mark.training


@dataclass(frozen=True)
class Blank:
    """A film of which nobody has to know what it shows."""

    frames: int
    rate: float
    width: int = 64
    height: int = 64

    def read(self, numbers: Any) -> Any:
        return np.zeros((len(numbers), self.height, self.width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def processor() -> Any:
    from airtune.modeling.loading import load_processor

    return load_processor(configs_root() / "demo" / "tiny-vlm")


@pytest.mark.parametrize(("frames", "rate", "shown"), [(40, 8.0, 10), (17, 8.0, 4), (3, 8.0, 3), (9000, 30.0, 32)])
def test_frames_are_spread_over_the_film_within_the_processors_limits(
    processor: Any, frames: int, rate: float, shown: int
) -> None:
    from airtune.modeling.films import frame_numbers

    numbers = frame_numbers(processor, Blank(frames, rate))
    assert (numbers[0], numbers[-1], len(numbers)) == (0, frames - 1, shown)
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("film", [Blank(40, 8.0), Blank(3, 8.0), Blank(60, 29.97, 96, 48), Blank(9000, 30.0)])
def test_the_tokens_of_a_film_follow_from_its_size_length_and_rate(processor: Any, film: Blank) -> None:
    from airtune.modeling.encoding import Encoder

    encoder = Encoder(processor, {processor.tokenizer.eos_token_id})
    encoded = encoder.encode("Be brief.", "What happens?", [film])
    assert encoder.prompt_length("Be brief.", "What happens?", [], [film]) == encoded.length


@pytest.mark.parametrize("key", ["qwen25vl", "qwen3vl"])
def test_max_pixels_limits_the_frames_of_a_film_too(key: str, tmp_path: Path) -> None:
    from airtune.modeling.encoding import Encoder
    from airtune.modeling.loading import limit_pixels, load_processor

    processor = load_processor(make_tiny(key, tmp_path / key))
    unit = processor.video_processor.patch_size * processor.video_processor.merge_size
    film = Blank(8, 4.0, 6 * unit, 4 * unit)

    def frames() -> list[list[int]]:
        encoder = Encoder(processor, {processor.tokenizer.eos_token_id})
        [vision] = encoder.encode("", "What happens?", [film]).vision
        return [list(row) for row in vision["video_grid_thw"].tolist()]

    processor.video_processor.size = {"shortest_edge": unit * unit, "longest_edge": 64 * 24 * unit * unit}
    merge = processor.video_processor.merge_size
    assert frames() == [[2, 4 * merge, 6 * merge]]
    limit_pixels(processor, 8 * unit * unit)
    [[steps, rows, columns]] = frames()
    assert steps == 2
    assert rows * columns <= 8 * merge**2
    assert rows * columns >= 6 * merge**2  # 2 x 3 image tokens: the next size of the same shape is too large


@pytest.mark.parametrize("max_pixels", [40 * 40, 64 * 64, 1024 * 1024])
def test_a_limit_of_frames_never_makes_more_of_a_film(max_pixels: int, tmp_path: Path) -> None:
    from airtune.modeling.loading import limit_pixels, load_processor

    folder = make_tiny("qwen3vl", tmp_path / "base")
    films = [(2, 300, 300), (4, 20, 20), (64, 300, 200), (768, 100, 100)]
    for least, most in ((32 * 32, 64 * 64 * 8), (9_000, 90_000)):
        plain, limited = load_processor(folder), load_processor(folder)
        for processor in (plain, limited):
            processor.video_processor.size = {"shortest_edge": least, "longest_edge": most}
        limit_pixels(limited, max_pixels)
        for film in films:
            counts = [each.video_processor.get_num_of_video_patches(*film, {}) for each in (plain, limited)]
            assert counts[1] <= counts[0], (least, film)
            if max_pixels == 1024 * 1024:
                assert counts[1] == counts[0]


def test_frames_are_chosen_where_a_processor_says_neither_how_many_nor_how_often(tmp_path: Path) -> None:
    """As Qwen2.5-VL is published: two a second, an even number."""
    from airtune.modeling.films import frame_numbers
    from airtune.modeling.loading import load_processor

    processor = load_processor(make_tiny("qwen25vl", tmp_path / "base"))
    assert processor.video_processor.fps is None
    assert len(frame_numbers(processor, Blank(90, 30.0))) == 6


@pytest.mark.parametrize("key", ["qwen25vl", "qwen3vl"])
@pytest.mark.parametrize("max_pixels", [None, 40 * 40])
def test_a_films_tokens_are_known_to_the_estimate(key: str, max_pixels: int | None, tmp_path: Path) -> None:
    from airtune.modeling.films import frame_numbers, processed
    from airtune.modeling.loading import limit_pixels, load_processor
    from airtune.resolution.base_model import read_base_model
    from airtune.resolution.film_tokens import FilmRule
    from airtune.resolution.text_tokens import text_rule

    folder = make_tiny(key, tmp_path / key)
    rule = FilmRule(read_base_model(folder.as_uri(), where="x"), text_rule(folder.as_uri()), max_pixels)
    processor = load_processor(folder)
    if max_pixels is not None:
        limit_pixels(processor, max_pixels)
    for film in (
        Blank(40, 8.0),
        Blank(7, 8.0),
        Blank(60, 29.97, 96, 48),
        Blank(500, 25.0, 130, 200),
        Blank(9, 4.0, 20, 20),
    ):
        numbers = frame_numbers(processor, film)
        found = processed(processor, film, film.read(numbers))
        expected = rule(film.width, film.height, film.frames, film.rate)
        assert expected.exact
        assert expected.patches == int(found["video_grid_thw"].prod())
        assert expected.tokens == found["input_ids"].shape[1] + 2  # the template writes where it begins and ends


def test_a_processor_without_videos_says_so() -> None:
    from airtune.modeling.films import frame_numbers

    with pytest.raises(SettingsError, match="takes no videos"):
        frame_numbers(SimpleNamespace(tokenizer=None), Blank(40, 8.0))
