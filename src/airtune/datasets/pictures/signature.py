"""What a picture looks like, in a few bytes: enough to find its copies at another size, quality or format."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

if TYPE_CHECKING:
    import numpy as np

COLOUR_GRID: Final = 4
"""Cells along each side of the picture whose mean colours are kept."""

_SAMPLED_SIDE: Final = 256
_SHRUNK_SIDE: Final = 64
"""Pixels of the shorter side, first of pixels that are picked and then of their means: hashing all pixels of a
photograph takes longer than decoding it, and its low frequencies are the same."""

_HASH_SIDE: Final = 8
_HASHED_SIDE: Final = 32
"""Frequencies that the hash has along each side, and the pixels that they are made of; those of imagehash."""

_LEAST_CONTRAST: Final = 2.0
"""Standard deviation of the luminance, below which the hash would tell noise from noise."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The looks of a picture.

    Attributes:
        phash: perceptual hash of 64 bits as 16 hex digits: the low frequencies of a cosine transform of the luminance,
            each above or below their median, as the library imagehash writes it; empty where the picture is so plain
            that it has nothing to be known by.
        colours: mean red, green and blue of 4 x 4 cells, row by row, as 96 hex digits. The hash alone does not tell a
            red ball from a blue one.
        brightness: mean luminance, 0 to 255 (ITU-R 601-2).
    """

    phash: str
    colours: str
    brightness: float


def signature_of(image: Image.Image) -> Signature:
    """The signature of an RGB picture; it depends on its pixels alone."""
    import numpy as np

    small = _shrunk(image)
    grey = small.convert("L")
    mean, deviation = _mean_and_deviation(np.asarray(grey, dtype=np.float32))
    cells = small.resize((COLOUR_GRID, COLOUR_GRID), Image.Resampling.BOX)
    return Signature(
        phash="" if deviation < _LEAST_CONTRAST else _phash(grey),
        colours=cells.tobytes().hex(),
        brightness=round(mean, 2),
    )


def _mean_and_deviation(luminance: np.ndarray[Any, Any]) -> tuple[float, float]:
    mean = float(luminance.mean())
    flat = luminance.reshape(-1) - mean
    return mean, math.sqrt(float(flat @ flat) / flat.size)


def _phash(grey: Image.Image) -> str:
    """The hash that ``imagehash.phash`` gives.

    Its own function transforms through scipy, which costs 0.6 s to import and computes 32 x 32 frequencies, of which it
    takes 8 x 8: those are two small products of matrices.
    """
    import numpy as np
    from imagehash import ImageHash

    pixels = np.asarray(grey.resize((_HASHED_SIDE, _HASHED_SIDE), Image.Resampling.LANCZOS), dtype=np.float64)
    cosines = _cosines()
    low = (cosines @ pixels @ cosines.T).round(6)  # what is nought by symmetry is nought, on every machine
    return str(ImageHash(low > np.median(low)))


@functools.cache
def _cosines() -> np.ndarray[Any, Any]:
    """The first rows of the cosine transform of type II, each a frequency."""
    import numpy as np

    places = (np.arange(_HASHED_SIDE) + 0.5) * math.pi / _HASHED_SIDE
    return 2 * np.cos(np.arange(_HASH_SIDE)[:, None] * places)


def _shrunk(image: Image.Image) -> Image.Image:
    width, height = image.size
    shorter = min(width, height)
    if shorter > _SAMPLED_SIDE:
        size = (round(width * _SAMPLED_SIDE / shorter), round(height * _SAMPLED_SIDE / shorter))
        image = image.resize(size, Image.Resampling.NEAREST)
    factor = min(image.size) // _SHRUNK_SIDE
    return image.reduce(factor) if factor > 1 else image
