"""Drawn pictures of coloured shapes: what the tiny base model learned to see, and what the demo asks it about.

Everything here is a pure function of a seed and an index, so that a data set never has to be stored to be repeated,
and nothing but Pillow is needed, so that the demo can be written on a machine without a deep-learning library.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from PIL import Image, ImageDraw

SIDE = 64
"""Width and height of a picture in pixels: 8 x 8 patches of the tiny model, merged to 16 image tokens."""

COLOURS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (214, 32, 36),
        "orange": (245, 135, 20),
        "yellow": (240, 210, 20),
        "green": (40, 155, 60),
        "cyan": (30, 190, 200),
        "blue": (35, 75, 205),
        "purple": (125, 45, 165),
        "pink": (245, 130, 185),
        "brown": (125, 75, 35),
        "grey": (130, 130, 130),
        "black": (20, 20, 20),
    }
)
"""The colour names and their red, green, blue values before jitter."""

SHAPES: tuple[str, ...] = (
    "circle",
    "square",
    "triangle",
    "diamond",
    "star",
    "cross",
    "ring",
    "heart",
    "arrow",
    "moon",
)
"""The shape names."""

SMALL = (0.28, 0.35)
LARGE = (0.39, 0.46)
"""Extent of a small and of a large object as a fraction of the picture; the gap keeps the two words distinct."""

_SUPERSAMPLING = 4
_JITTER = 12
_COLOURS_LOST_ON_DARK = frozenset({"black", "brown", "grey"})
_SHAPES_WITH_OUTLINE = frozenset({"square", "triangle", "diamond", "star", "heart"})
_PLACEMENT_ATTEMPTS = 200

Point = tuple[float, float]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class DrawnObject:
    """One object of a picture.

    Attributes:
        colour: A key of `COLOURS`.
        shape: An item of `SHAPES`.
        size: "small" or "large".
        outlined: Whether only its outline is drawn.
        box: xmin, ymin, xmax, ymax in pixels; xmax and ymax are exclusive.
    """

    colour: str
    shape: str
    size: str
    outlined: bool
    box: Box

    @property
    def phrase(self) -> str:
        """How a caption names the object, such as "red circle"."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """A picture and what is on it, from left to right as drawn."""

    image: Image.Image
    objects: tuple[DrawnObject, ...]


def draw_scene(
    seed: int,
    index: int,
    *,
    objects: int | tuple[int, int] = 1,
    colours: Sequence[str] = tuple(COLOURS),
    shapes: Sequence[str] = SHAPES,
    outlined_share: float = 0.0,
    dark_share: float = 0.0,
    side: int = SIDE,
) -> Scene:
    """Draw one picture; equal arguments give equal pixels.

    Args:
        seed: Names the series of pictures.
        index: Names the picture within the series.
        objects: How many objects, or the inclusive range to draw that number from; at most three.
        colours: Colour names to draw from. Objects of one picture differ in colour.
        shapes: Shape names to draw from. Objects of one picture differ in shape.
        outlined_share: Probability that an object whose shape allows it is drawn as an outline.
        dark_share: Probability of a dark background (which leaves out the colours that would drown in it).
        side: Width and height in pixels.

    Raises:
        ValueError: More objects are asked for than fit, or than there are colours or shapes to tell them apart.
    """
    rng = random.Random(f"{seed}:{index}")  # noqa: S311 - pictures, not secrets
    low, high = (objects, objects) if isinstance(objects, int) else objects
    dark = rng.random() < dark_share
    palette = [name for name in colours if not (dark and name in _COLOURS_LOST_ON_DARK)]
    if not 1 <= low <= high <= min(3, len(palette), len(shapes)):
        raise ValueError(
            f"objects={objects!r}: one to three, and no more than there are colours ({len(palette)}) "
            f"and shapes ({len(shapes)}) to tell them apart by"
        )
    count = rng.randint(low, high)
    background = _background(rng, dark)
    image = Image.new("RGB", (side * _SUPERSAMPLING, side * _SUPERSAMPLING), background)
    canvas = ImageDraw.Draw(image)
    names = zip(rng.sample(palette, count), rng.sample(list(shapes), count), strict=True)
    drawn = []
    for (colour, shape), (centre, extent, size) in zip(names, _places(rng, count, side), strict=True):
        outlined = shape in _SHAPES_WITH_OUTLINE and rng.random() < outlined_share
        points = _outline(shape, centre, extent, rng.uniform(-10.0, 10.0))
        _paint(canvas, points, shape, jittered(rng, COLOURS[colour]), background, outlined)
        drawn.append(DrawnObject(colour, shape, size, outlined, _box(points, side)))
    return Scene(image.reduce(_SUPERSAMPLING), tuple(drawn))


def jittered(rng: random.Random, colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """The colour, moved a little in each channel, so that a name stands for a region and not for one value."""
    red, green, blue = (min(255, max(0, channel + rng.randint(-_JITTER, _JITTER))) for channel in colour)
    return red, green, blue


def _background(rng: random.Random, dark: bool) -> tuple[int, int, int]:
    level = rng.randint(0, 30) if dark else rng.randint(232, 250)
    red, green, blue = (min(255, max(0, level + rng.randint(-5, 5))) for _ in range(3))
    return red, green, blue


def _places(rng: random.Random, count: int, side: int) -> list[tuple[Point, float, str]]:
    """Centre, extent (both in pixels) and size word of `count` objects that do not touch."""
    for _ in range(_PLACEMENT_ATTEMPTS):
        places: list[tuple[Point, float, str]] = []
        for _ in range(count):
            size = "small" if count == 3 or rng.random() < 0.5 else "large"
            extent = rng.uniform(*(SMALL if size == "small" else LARGE)) * side
            low, high = extent / 2 + 1, side - extent / 2 - 1
            places.append(((rng.uniform(low, high), rng.uniform(low, high)), extent, size))
        if _are_apart(places):
            return places
    corners = [(0.25, 0.25), (0.75, 0.3), (0.5, 0.75)]
    return [((x * side, y * side), SMALL[0] * side, "small") for x, y in corners[:count]]


def _are_apart(places: Sequence[tuple[Point, float, str]]) -> bool:
    return all(
        max(abs(a[0] - b[0]), abs(a[1] - b[1])) >= (extent_a + extent_b) / 2 + 2
        for i, (a, extent_a, _) in enumerate(places)
        for b, extent_b, _ in places[:i]
    )


def _outline(shape: str, centre: Point, extent: float, degrees: float) -> list[Point]:
    """The shape's outline in pixels, turned by `degrees`, its longer side made `extent` long and centred."""
    turn = math.radians(degrees)
    cos, sin = math.cos(turn), math.sin(turn)
    turned = [(x * cos - y * sin, x * sin + y * cos) for x, y in _UNIT_OUTLINES[shape]()]
    xs, ys = [x for x, _ in turned], [y for _, y in turned]
    scale = extent / max(max(xs) - min(xs), max(ys) - min(ys))
    middle_x, middle_y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    return [(centre[0] + (x - middle_x) * scale, centre[1] + (y - middle_y) * scale) for x, y in turned]


def _paint(
    canvas: ImageDraw.ImageDraw,
    points: Sequence[Point],
    shape: str,
    colour: tuple[int, int, int],
    background: tuple[int, int, int],
    outlined: bool,
) -> None:
    scaled = [(x * _SUPERSAMPLING, y * _SUPERSAMPLING) for x, y in points]
    canvas.polygon(scaled, fill=colour)
    if outlined or shape == "ring":
        middle_x = sum(x for x, _ in scaled) / len(scaled)
        middle_y = sum(y for _, y in scaled) / len(scaled)
        inner = [(middle_x + (x - middle_x) * 0.6, middle_y + (y - middle_y) * 0.6) for x, y in scaled]
        canvas.polygon(inner, fill=background)


def _box(points: Sequence[Point], side: int) -> Box:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return (
        max(0, math.floor(min(xs))),
        max(0, math.floor(min(ys))),
        min(side, math.ceil(max(xs))),
        min(side, math.ceil(max(ys))),
    )


def _regular(corners: int, first_degrees: float) -> list[Point]:
    turns = [math.radians(first_degrees + 360.0 * corner / corners) for corner in range(corners)]
    return [(math.cos(turn), math.sin(turn)) for turn in turns]


def _star() -> list[Point]:
    return [
        (x * (1.0 if corner % 2 == 0 else 0.42), y * (1.0 if corner % 2 == 0 else 0.42))
        for corner, (x, y) in enumerate(_regular(10, -90.0))
    ]


def _cross() -> list[Point]:
    arm = 0.34
    corners = [(-arm, -1.0), (arm, -1.0), (arm, -arm), (1.0, -arm), (1.0, arm), (arm, arm)]
    return corners + [(-x, -y) for x, y in corners]


def _heart() -> list[Point]:
    turns = [2 * math.pi * step / 40 for step in range(40)]
    return [
        (
            16 * math.sin(turn) ** 3,
            -(13 * math.cos(turn) - 5 * math.cos(2 * turn) - 2 * math.cos(3 * turn) - math.cos(4 * turn)),
        )
        for turn in turns
    ]


def _arrow() -> list[Point]:
    return [(-1.0, -0.3), (0.1, -0.3), (0.1, -0.8), (1.0, 0.0), (0.1, 0.8), (0.1, 0.3), (-1.0, 0.3)]


def _moon() -> list[Point]:
    outer = [math.radians(50 + 260.0 * step / 24) for step in range(25)]
    inner = [math.radians(290 - 220.0 * step / 24) for step in range(25)]
    return [(math.cos(turn), math.sin(turn)) for turn in outer] + [
        (0.38 + 0.77 * math.cos(turn), 0.82 * math.sin(turn)) for turn in inner
    ]


_UNIT_OUTLINES: Mapping[str, Callable[[], list[Point]]] = MappingProxyType(
    {
        "circle": lambda: _regular(40, 0.0),
        "square": lambda: _regular(4, 45.0),
        "triangle": lambda: _regular(3, -90.0),
        "diamond": lambda: [(0.0, -1.0), (0.72, 0.0), (0.0, 1.0), (-0.72, 0.0)],
        "star": _star,
        "cross": _cross,
        "ring": lambda: _regular(40, 0.0),
        "heart": _heart,
        "arrow": _arrow,
        "moon": _moon,
    }
)
