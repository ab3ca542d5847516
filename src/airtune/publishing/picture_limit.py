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
_LONGEST: Final = 768 * 32 * 32
"""Its largest size where its file says nothing."""


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
    size = videos.get("size")
    if videos.get("video_processor_type") == _WHOLE_VIDEO:
        longest = (size or {}).get("longest_edge") or _LONGEST
        if longest <= max_pixels * int(videos.get("temporal_patch_size") or 2):
            return
        shortest, _ = _edges(videos)
        unit = videos["patch_size"] * videos["merge_size"]
        before = videos.get("max_video_tokens") or 768 if videos.get("cap_pixels_per_frame") else max_pixels
        videos |= {"cap_pixels_per_frame": True, "max_video_tokens": min(before, max_pixels // unit**2)}
        frame = min(max_pixels, longest // int(videos.get("max_frames") or 768))
        shortest = max(1, min(shortest or _SMALLEST, int(frame / 1.05)))
    else:
        shortest, found = _edges(videos)
        shortest, longest = min(shortest or _SMALLEST, max_pixels), min(found or max_pixels, max_pixels)
    videos["size"] = {"shortest_edge": shortest, "longest_edge": longest}


def _edges(settings: dict[str, Any]) -> tuple[int | None, int | None]:
    """Smallest and largest area as they are; the older spelling is taken out, because it would win over size."""
    size = settings.get("size")
    size = size if isinstance(size, dict) else {}
    shortest = settings.pop("min_pixels", None) or size.get("shortest_edge")
    longest = settings.pop("max_pixels", None) or size.get("longest_edge")
    return shortest and int(shortest), longest and int(longest)
