"""Puts a run's limit on picture sizes into the processor's files, so that the published model sees as it was trained.

The same rule as :func:`airtune.modeling.loading.limit_pixels` (the Qwen family, where the two edges are areas in
pixels), applied to the files instead of a loaded processor; a test holds the two against each other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

_SMALLEST: Final = 56 * 56
"""Least area of the Qwen processors where their files say nothing."""


def limit_pictures(folder: Path, max_pixels: int) -> None:
    """Sets the largest area of a picture, in pixels, in the processor's files of ``folder``."""
    for name in ("processor_config.json", "preprocessor_config.json"):
        path = folder / name
        if not path.is_file():
            continue
        document = json.loads(path.read_text(encoding="utf-8"))
        images = document.get("image_processor", document if name.startswith("pre") else None)
        if isinstance(images, dict):
            _limit(images, max_pixels)
            path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _limit(images: dict[str, Any], max_pixels: int) -> None:
    size = images.get("size") if isinstance(images.get("size"), dict) else {}
    shortest = images.pop("min_pixels", None) or (size or {}).get("shortest_edge") or _SMALLEST
    images.pop("max_pixels", None)  # the older spelling would win over size
    images["size"] = {"shortest_edge": min(int(shortest), max_pixels), "longest_edge": max_pixels}
