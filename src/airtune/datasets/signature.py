"""What a picture looks like, in a few bytes: enough to find its copies at another size, quality or format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from PIL import Image

COLOUR_GRID: Final = 4
"""Cells along each side of the picture whose mean colours are kept."""

_SAMPLED_SIDE: Final = 256
_SHRUNK_SIDE: Final = 64
"""Pixels of the shorter side, first of pixels that are picked and then of their means: hashing all pixels of a
photograph takes longer than decoding it, and its low frequencies are the same."""

_LEAST_CONTRAST: Final = 2.0
"""Standard deviation of the luminance, below which the hash would tell noise from noise."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The looks of a picture.

    Attributes:
        phash: perceptual hash of 64 bits as 16 hex digits (the low frequencies of a cosine transform of the
            luminance, each above or below their median; the library imagehash); empty where the picture is so plain
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
    import imagehash
    import numpy as np

    small = _shrunk(image)
    grey = small.convert("L")
    luminance = np.asarray(grey)
    plain = float(luminance.std()) < _LEAST_CONTRAST
    cells = small.resize((COLOUR_GRID, COLOUR_GRID), Image.Resampling.BOX)
    return Signature(
        phash="" if plain else str(imagehash.phash(grey)),
        colours=cells.tobytes().hex(),
        brightness=round(float(luminance.mean()), 2),
    )


def _shrunk(image: Image.Image) -> Image.Image:
    width, height = image.size
    shorter = min(width, height)
    if shorter > _SAMPLED_SIDE:
        size = (round(width * _SAMPLED_SIDE / shorter), round(height * _SAMPLED_SIDE / shorter))
        image = image.resize(size, Image.Resampling.NEAREST)
    factor = min(image.size) // _SHRUNK_SIDE
    return image.reduce(factor) if factor > 1 else image
