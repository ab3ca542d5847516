"""Puts a run's limit on picture sizes into the processor's files, so that the published model sees as it was trained.

The same rule as :func:`airtune.modeling.loading.limit_pixels` (the Qwen family, where the two edges are areas in
pixels), applied to the files instead of a loaded processor; a test holds the two against each other. The frames of
videos are limited in the same way (:func:`airtune.modeling.films.limit_frames`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

_SMALLEST: Final = 56 * 56
"""Least area of the Qwen processors where their files say nothing."""


_VIDEOS: Final = "video_preprocessor_config.json"
_WHOLE_VIDEO: Final = "Qwen3VLVideoProcessor"
"""The processor whose limits are those of a whole video, and of a frame in tokens."""


def limit_pictures(folder: Path, max_pixels: int) -> None:
    """Sets the largest area of a picture and of a video's frame, in pixels, in the processor's files of ``folder``."""
    for name in ("processor_config.json", "preprocessor_config.json", _VIDEOS):
        path = folder / name
        if not path.is_file():
            continue
        document = json.loads(path.read_text(encoding="utf-8"))
        images = document.get("image_processor", document if name.startswith("pre") else None)
        videos = document if name == _VIDEOS else document.get("video_processor")
        if isinstance(images, dict):
            _limit(images, max_pixels)
        if isinstance(videos, dict):
            _limit_frames(videos, max_pixels)
        if isinstance(images, dict) or isinstance(videos, dict):
            path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _limit(images: dict[str, Any], max_pixels: int) -> None:
    shortest, _ = _edges(images)
    images["size"] = {"shortest_edge": min(shortest or _SMALLEST, max_pixels), "longest_edge": max_pixels}


def _limit_frames(videos: dict[str, Any], max_pixels: int) -> None:
    if not isinstance(videos.get("merge_size"), int) or not isinstance(videos.get("patch_size"), int):
        return
    shortest, longest = _edges(videos)
    shortest, longest = shortest or _SMALLEST, longest or max_pixels
    if videos.get("video_processor_type") == _WHOLE_VIDEO:
        unit = videos["patch_size"] * videos["merge_size"]
        videos |= {"cap_pixels_per_frame": True, "max_video_tokens": max_pixels // unit**2}
        shortest = max(1, min(shortest, int(max_pixels / 1.05)))
    else:
        shortest, longest = min(shortest, max_pixels), min(longest, max_pixels)
    videos["size"] = {"shortest_edge": shortest, "longest_edge": longest}


def _edges(settings: dict[str, Any]) -> tuple[int | None, int | None]:
    """Smallest and largest area as they are; the older spelling is taken out, because it would win over size."""
    size = settings.get("size")
    size = size if isinstance(size, dict) else {}
    shortest = settings.pop("min_pixels", None) or size.get("shortest_edge")
    longest = settings.pop("max_pixels", None) or size.get("longest_edge")
    return shortest and int(shortest), longest and int(longest)
