from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

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


def test_a_processor_without_videos_says_so() -> None:
    from airtune.modeling.films import frame_numbers

    with pytest.raises(SettingsError, match="takes no videos"):
        frame_numbers(SimpleNamespace(tokenizer=None), Blank(40, 8.0))
