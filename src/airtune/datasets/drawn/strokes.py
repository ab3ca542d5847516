"""Drawn letters of thick strokes: line drawings for the pre-training of the tiny base model.

Shapes alone teach a vision tower about filled areas. Handwriting is made of strokes, so the tower also sees letters,
slanted, stretched and blurred, in colour on light and bright on dark. There is no digit among them: the demo that
learns to read digits has to learn them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from PIL import Image, ImageDraw

from airtune.datasets.drawn.shapes import COLOURS, SIDE, Point, jittered

_SUPERSAMPLING = 2
_COARSE_SIDE = 8
_COARSE_LEVELS = 16

Stroke = tuple[Point, ...]


def _arc(centre: Point, radii: Point, start: float, end: float) -> Stroke:
    """An elliptic arc as a polyline; degrees run clockwise from the right, as y grows downwards."""
    turns = [math.radians(start + (end - start) * step / 12) for step in range(13)]
    return tuple((centre[0] + radii[0] * math.cos(turn), centre[1] + radii[1] * math.sin(turn)) for turn in turns)


LETTERS: Mapping[str, tuple[Stroke, ...]] = MappingProxyType(
    {
        "A": (((0.0, 1.0), (0.5, 0.0), (1.0, 1.0)), ((0.2, 0.62), (0.8, 0.62))),
        "B": (
            ((0.0, 0.0), (0.0, 1.0)),
            _arc((0.1, 0.26), (0.7, 0.26), -90, 90),
            _arc((0.1, 0.76), (0.85, 0.24), -90, 90),
        ),
        "C": (_arc((0.55, 0.5), (0.5, 0.5), -40, -320),),
        "D": (((0.05, 0.0), (0.05, 1.0)), _arc((0.1, 0.5), (0.85, 0.5), -90, 90)),
        "E": (((1.0, 0.0), (0.0, 0.0), (0.0, 1.0), (1.0, 1.0)), ((0.0, 0.5), (0.8, 0.5))),
        "F": (((1.0, 0.0), (0.0, 0.0), (0.0, 1.0)), ((0.0, 0.5), (0.8, 0.5))),
        "G": (_arc((0.5, 0.5), (0.5, 0.5), -50, -360), ((1.0, 0.5), (0.55, 0.5))),
        "H": (((0.0, 0.0), (0.0, 1.0)), ((1.0, 0.0), (1.0, 1.0)), ((0.0, 0.5), (1.0, 0.5))),
        "J": (((0.8, 0.0), (0.8, 0.7)), _arc((0.45, 0.7), (0.35, 0.3), 0, 180)),
        "K": (((0.0, 0.0), (0.0, 1.0)), ((0.9, 0.0), (0.05, 0.55), (0.95, 1.0))),
        "L": (((0.05, 0.0), (0.05, 1.0), (0.95, 1.0)),),
        "M": (((0.0, 1.0), (0.05, 0.0), (0.5, 0.6), (0.95, 0.0), (1.0, 1.0)),),
        "N": (((0.0, 1.0), (0.0, 0.0), (1.0, 1.0), (1.0, 0.0)),),
        "P": (((0.05, 0.0), (0.05, 1.0)), _arc((0.1, 0.28), (0.8, 0.28), -90, 90)),
        "Q": (_arc((0.5, 0.45), (0.48, 0.45), 0, 360), ((0.55, 0.65), (1.0, 1.0))),
        "R": (((0.05, 0.0), (0.05, 1.0)), _arc((0.1, 0.26), (0.8, 0.26), -90, 90), ((0.3, 0.52), (0.95, 1.0))),
        "S": (_arc((0.5, 0.26), (0.42, 0.26), -30, -270), _arc((0.5, 0.76), (0.45, 0.24), -90, 150)),
        "T": (((0.0, 0.0), (1.0, 0.0)), ((0.5, 0.0), (0.5, 1.0))),
        "U": (((0.0, 0.0), (0.0, 0.6)), _arc((0.5, 0.6), (0.5, 0.4), 180, 0), ((1.0, 0.6), (1.0, 0.0))),
        "V": (((0.0, 0.0), (0.5, 1.0), (1.0, 0.0)),),
        "W": (((0.0, 0.0), (0.22, 1.0), (0.5, 0.35), (0.78, 1.0), (1.0, 0.0)),),
        "X": (((0.0, 0.0), (1.0, 1.0)), ((1.0, 0.0), (0.0, 1.0))),
        "Y": (((0.0, 0.0), (0.5, 0.5), (1.0, 0.0)), ((0.5, 0.5), (0.5, 1.0))),
        "Z": (((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)),),
        "a": (_arc((0.45, 0.62), (0.4, 0.36), 0, 360), ((0.88, 0.25), (0.9, 1.0))),
        "b": (((0.1, 0.0), (0.1, 1.0)), _arc((0.48, 0.7), (0.4, 0.3), 0, 360)),
        "d": (((0.9, 0.0), (0.9, 1.0)), _arc((0.5, 0.7), (0.4, 0.3), 0, 360)),
        "e": (((0.05, 0.55), (0.95, 0.5)), _arc((0.5, 0.55), (0.45, 0.42), -10, -310)),
        "h": (((0.1, 0.0), (0.1, 1.0)), _arc((0.5, 0.68), (0.38, 0.28), 180, 360), ((0.88, 0.68), (0.88, 1.0))),
        "q": (_arc((0.5, 0.3), (0.42, 0.3), 0, 360), ((0.92, 0.0), (0.92, 1.0))),
        "r": (((0.15, 0.2), (0.15, 1.0)), _arc((0.55, 0.6), (0.4, 0.35), 180, 310)),
        "y": (((0.05, 0.0), (0.5, 0.55)), ((0.95, 0.0), (0.2, 1.0))),
    }
)
"""The strokes of each letter, in a unit square whose y grows downwards."""


def draw_letter(seed: int, index: int, *, coarse: bool, side: int = SIDE) -> tuple[Image.Image, str]:
    """Draw one letter; equal arguments give equal pixels.

    Args:
        seed: Names the series of pictures.
        index: Names the picture within the series.
        coarse: Bright on black, reduced to 8 x 8 cells of 16 levels and enlarged again, as scanned handwriting is;
            otherwise crisp and in colour on a light background.
        side: Width and height in pixels.

    Returns:
        The picture (RGB) and the letter, a key of `LETTERS`.
    """
    rng = random.Random(f"letter:{seed}:{index}")  # noqa: S311 - pictures, not secrets
    letter = rng.choice(list(LETTERS))
    big = side * _SUPERSAMPLING
    ink, paper = _inks(rng, coarse)
    image = Image.new("RGB", (big, big), paper)
    canvas = ImageDraw.Draw(image)
    width = big * (rng.uniform(0.10, 0.19) if coarse else rng.uniform(0.05, 0.11))
    for stroke in _placed(rng, LETTERS[letter], coarse):
        _draw_stroke(canvas, [(x * big, y * big) for x, y in stroke], width, ink)
    image = image.reduce(_SUPERSAMPLING)
    return (_coarsened(image, side) if coarse else image), letter


def _inks(rng: random.Random, coarse: bool) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    if coarse:
        level = rng.randint(200, 255)
        return (level, level, level), (0, 0, 0)
    paper = rng.randint(232, 250)
    return jittered(rng, rng.choice([*COLOURS.values()])), (paper, paper, paper)


def _placed(rng: random.Random, strokes: Sequence[Stroke], coarse: bool) -> list[list[Point]]:
    """The strokes, slanted, stretched, bent a little and laid into the unit square of the picture."""
    height = rng.uniform(0.78, 0.96) if coarse else rng.uniform(0.45, 0.8)
    width = height * rng.uniform(0.55, 0.95)
    slant, turn = rng.uniform(-0.25, 0.25), math.radians(rng.uniform(-12.0, 12.0))
    room = max(0.0, 0.5 - height / 2)
    middle_x, middle_y = 0.5 + rng.uniform(-room, room), 0.5 + rng.uniform(-room, room)
    bends = [(rng.uniform(-0.06, 0.06), rng.uniform(2.0, 6.0), rng.uniform(0.0, 6.0)) for _ in range(2)]
    placed = []
    for stroke in strokes:
        points = []
        for x, y in stroke:
            bent_x = x + bends[0][0] * math.sin(bends[0][1] * y + bends[0][2]) + slant * (0.5 - y)
            bent_y = y + bends[1][0] * math.sin(bends[1][1] * x + bends[1][2])
            flat_x, flat_y = (bent_x - 0.5) * width, (bent_y - 0.5) * height
            points.append(
                (
                    middle_x + flat_x * math.cos(turn) - flat_y * math.sin(turn),
                    middle_y + flat_x * math.sin(turn) + flat_y * math.cos(turn),
                )
            )
        placed.append(points)
    return placed


def _draw_stroke(canvas: ImageDraw.ImageDraw, points: Sequence[Point], width: float, ink: tuple[int, int, int]) -> None:
    canvas.line(list(points), fill=ink, width=round(width), joint="curve")
    for x, y in (points[0], points[-1]):
        canvas.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=ink)


def _coarsened(image: Image.Image, side: int) -> Image.Image:
    cells = image.convert("L").resize((_COARSE_SIDE, _COARSE_SIDE), Image.Resampling.BOX)
    step = 255 / _COARSE_LEVELS
    levels = cells.point([round(round(level / step) * step) for level in range(256)])
    return levels.resize((side, side), Image.Resampling.BICUBIC).convert("RGB")
