"""How many tokens a picture becomes, and how many patches the vision tower sees, from its size in pixels alone.

The same arithmetic as the processors of transformers 5.23: areas (Qwen), tiles (InternVL), grids (LLaVA-NeXT). Where a
processor has another rule, a number that is rather too high stands for it, and ``exact`` says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from airtune.resolution.base_model import BaseModel
from airtune.resolution.shapes import vision_config
from airtune.resolution.text_tokens import TextRule

_AREAS: Final = {"qwen2_5_vl": (3_136, 12_845_056), "qwen3_vl": (65_536, 16_777_216)}
"""Smallest and largest area in pixels of the published processors, where the base model's own cannot be looked at."""

_OTHERS: Final = 1024
"""Tokens of a picture where the rule is not known: rather too many."""


@dataclass(frozen=True)
class Picture:
    """What one picture costs.

    Attributes:
        tokens: in the language model's row.
        patches: positions in the vision tower.
        exact: whether this is the processor's own arithmetic.
    """

    tokens: int
    patches: int
    exact: bool = True

    def within(self, texts: TextRule) -> Picture:
        """The same picture with what a chat template writes around it."""
        return replace(self, tokens=self.tokens + texts.picture)


class PictureRule:
    """Counts for one base model.

    Args:
        base: its config.json and its processor's settings decide.
        max_pixels: the run's own limit of a picture's area.
    """

    def __init__(self, base: BaseModel, max_pixels: int | None) -> None:
        self._base = base
        self._max_pixels = max_pixels
        self._known: dict[tuple[int, int], Picture] = {}
        image = base.processor.get("image_processor")
        self._settings: Mapping[str, Any] = image if isinstance(image, Mapping) else base.processor

    def __call__(self, width: int, height: int) -> Picture:
        """A picture of this size in pixels."""
        if (width, height) not in self._known:
            self._known[width, height] = self._count(width, height)
        return self._known[width, height]

    def _count(self, width: int, height: int) -> Picture:
        vision = vision_config(self._base.config)
        if self._base.pixels_per_token and "merge_size" in (self._settings or {"merge_size": 2}):
            return self._by_area(vision, width, height)
        if self._base.model_type == "internvl":
            return self._by_tiles(vision, width, height)
        if self._base.model_type == "llava_next":
            return self._by_grid(vision, width, height)
        merge = int(vision.get("spatial_merge_size") or 2)
        return Picture(_OTHERS, _OTHERS * merge * merge, exact=False)

    def _by_area(self, vision: Mapping[str, Any], width: int, height: int) -> Picture:
        merge = int(vision["spatial_merge_size"])
        unit = int(vision["patch_size"]) * merge
        least, most = _AREAS.get(self._base.model_type or "", (unit * unit, _AREAS["qwen3_vl"][1]))
        size = self._settings.get("size")
        if isinstance(size, Mapping):
            least, most = int(size.get("shortest_edge") or least), int(size.get("longest_edge") or most)
        if self._max_pixels is not None:
            least, most = min(least, self._max_pixels), self._max_pixels
        rows, columns = scaled(height, width, unit, least, most)
        tokens = (rows // unit) * (columns // unit)
        return Picture(tokens, tokens * merge * merge)

    def _by_tiles(self, vision: Mapping[str, Any], width: int, height: int) -> Picture:
        size = vision["image_size"]
        edge = int(size[0] if isinstance(size, (list, tuple)) else size)
        patch = vision["patch_size"]
        patch = int(patch[0] if isinstance(patch, (list, tuple)) else patch)
        least, most = int(self._settings.get("min_patches", 1)), int(self._settings.get("max_patches", 12))
        columns, rows = tile_grid(width, height, edge, least, most)
        tiles = 1 + columns * rows if columns * rows > 1 else 1  # several tiles come with the whole picture, scaled
        tokens = int(self._base.config.get("image_seq_length", 256)) * tiles + 2
        return Picture(tokens, tiles * ((edge // patch) ** 2 + 1))

    def _by_grid(self, vision: Mapping[str, Any], width: int, height: int) -> Picture:
        edge, patch = int(vision["image_size"]), int(vision["patch_size"])
        grids = self._settings.get("image_grid_pinpoints") or self._base.config["image_grid_pinpoints"]
        best_height, best_width = best_grid(width, height, [(int(rows), int(columns)) for rows, columns in grids])
        side = edge // patch
        rows, columns = side * (best_height // edge), side * (best_width // edge)
        tiles = 1 + (best_height // edge) * (best_width // edge)
        if width / height > columns / rows:
            rows -= 2 * ((rows - int(round(height * (columns / width), 7))) // 2)
        else:
            columns -= 2 * ((columns - int(round(width * (rows / height), 7))) // 2)
        return Picture(rows * columns + rows + side * side, tiles * (side * side + 1))


def scaled(height: int, width: int, unit: int, least: int, most: int) -> tuple[int, int]:
    """The size to which the Qwen family's processors scale a picture (``smart_resize``).

    Args:
        height: in pixels.
        width: in pixels.
        unit: both edges become multiples of it.
        least: smallest area in pixels.
        most: largest area in pixels.

    Returns:
        Height and width.
    """
    rows, columns = round(height / unit) * unit, round(width / unit) * unit
    if rows * columns > most:
        shrink = math.sqrt(height * width / most)
        rows = max(unit, math.floor(height / shrink / unit) * unit)
        columns = max(unit, math.floor(width / shrink / unit) * unit)
    elif rows * columns < least:
        grow = math.sqrt(least / (height * width))
        rows, columns = math.ceil(height * grow / unit) * unit, math.ceil(width * grow / unit) * unit
    return rows, columns


def tile_grid(width: int, height: int, edge: int, least: int, most: int) -> tuple[int, int]:
    """Columns and rows of square tiles into which InternVL's processor cuts a picture."""
    sides = range(1, most + 1)
    grids = [(columns, rows) for columns in sides for rows in sides if least <= columns * rows <= most]
    best, nearest = (1, 1), math.inf
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        distance = abs(width / height - columns / rows)
        larger = distance == nearest and width * height > 0.5 * edge * edge * columns * rows
        if distance < nearest or larger:
            best, nearest = (columns, rows), distance
    return best


def best_grid(width: int, height: int, grids: list[tuple[int, int]]) -> tuple[int, int]:
    """The resolution (height, width) that keeps most of a picture and wastes least (LLaVA-NeXT)."""

    def fit(grid: tuple[int, int]) -> tuple[int, int]:
        scale = min(grid[1] / width, grid[0] / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, kept - grid[0] * grid[1]

    return max(grids, key=fit)
