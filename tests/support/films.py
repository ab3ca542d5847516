"""Small films for tests: a square that moves to the right."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

RATE = 8
"""Frames a second."""


def write_film(
    path: Path,
    *,
    frames: int,
    size: tuple[int, int] = (64, 64),
    colour: tuple[int, int, int] = (220, 30, 30),
    start: int = 0,
) -> Path:
    """Writes an MP4 file of ``size`` (width, height) pixels; returns its path."""
    import av

    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(RATE))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for moment in range(frames):
            picture = np.full((height, width, 3), 230, dtype=np.uint8)
            left = (start + moment) % (width - 20)
            picture[20:40, left : left + 20] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
