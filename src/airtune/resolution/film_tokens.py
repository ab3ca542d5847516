"""How many tokens a video becomes, and how many patches the vision tower sees, from its size, length and rate alone.

The same arithmetic as the video processors of transformers 5.23 for the Qwen family: frames spread over the video, two
of them a step in time, each step scaled as a picture is. For another family a number that is rather too high stands
for it, and ``exact`` says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from airtune.resolution.base_model import BaseModel
from airtune.resolution.picture_tokens import Picture, scaled
from airtune.resolution.shapes import vision_config
from airtune.resolution.text_tokens import TextRule

_RATE: Final = 2.0
"""Frames a second that are shown where the processor's settings name neither a rate nor a number."""
_FEWEST, _MOST = 4, 768
"""Frames that the Qwen processors show, at least and at most."""
_FRAME_LIMIT: Final = 768
"""Tokens of a frame where a limit of each frame is switched on and not said."""
_STEP: Final = 2
"""Frames that the vision towers of the Qwen family see as one step in time."""
_AREAS: Final = {"qwen2_5_vl": (128 * 28 * 28, 768 * 28 * 28), "qwen3_vl": (128 * 32 * 32, 768 * 32 * 32)}
"""Smallest and largest size where the settings say nothing: of a frame (Qwen2.5-VL), of a whole video (Qwen3-VL)."""
_WHOLE_VIDEO: Final = ("Qwen3VLVideoProcessor", "qwen3_vl", "qwen3_5")
"""Processors, and beginnings of model types, whose limits are those of a whole video."""
_FRAME_TOKENS: Final = 256
"""Of a frame, for a family whose rule is not written down here."""
_AROUND: Final = 2
"""Tokens that Qwen3-VL's processor writes around each step in time: where it begins and ends."""


class FilmRule:
    """Counts for one base model.

    Args:
        base: its config.json and its processor's settings decide.
        texts: counts the seconds that are written before each step in time.
        max_pixels: the run's own limit of a frame's area.
    """

    def __init__(self, base: BaseModel, texts: TextRule, max_pixels: int | None) -> None:
        self._base = base
        self._texts = texts
        self._max_pixels = max_pixels
        settings = base.processor.get("video_processor")
        # Where videos have no settings of their own, their processor takes those of pictures.
        self._settings: Mapping[str, Any] = settings if isinstance(settings, Mapping) else base.processor
        named = (str(self._settings.get("video_processor_type") or ""), base.model_type or "")
        self._of_whole_video = named[0] in _WHOLE_VIDEO or (not named[0] and named[1].startswith(_WHOLE_VIDEO))

    def __call__(self, width: int, height: int, frames: int, rate: float) -> Picture:
        """A video of this size, with so many frames at so many a second."""
        vision = vision_config(self._base.config)
        shown = self._shown(frames, rate)
        if not self._base.pixels_per_token or not (self._base.model_type or "").startswith("qwen"):
            return Picture(shown * _FRAME_TOKENS, shown * _FRAME_TOKENS * 4, exact=False).within(self._texts)
        merge = int(vision["spatial_merge_size"])
        unit = int(vision["patch_size"]) * merge
        rows, columns = self._scaled(height, width, shown, unit)
        steps = -(-shown // _STEP)
        seen = steps * (rows // unit) * (columns // unit)
        written = self._stamps(shown, frames, rate) + steps * _AROUND if self._of_whole_video else 0
        return Picture(seen + written, seen * merge * merge).within(self._texts)

    def _shown(self, frames: int, rate: float) -> int:
        """How many frames the model is shown."""
        number = self._settings.get("num_frames")
        if number is not None:
            return min(int(number), frames)
        asked = frames / rate * float(self._settings.get("fps") or _RATE)
        fewest, most = (int(self._settings.get(f"{name}_frames") or value)
                        for name, value in (("min", _FEWEST), ("max", _MOST)))  # fmt: skip
        if self._of_whole_video:
            return min(max(int(asked), fewest), most, frames)
        most = min(most, frames) // _STEP * _STEP
        return max(_STEP, int(min(max(asked, fewest), most, frames) // _STEP * _STEP))

    def _scaled(self, height: int, width: int, shown: int, unit: int) -> tuple[int, int]:
        least, most = _AREAS["qwen3_vl" if self._of_whole_video else "qwen2_5_vl"]
        size = self._settings.get("size")
        size = size if isinstance(size, Mapping) else {}
        least = int(self._settings.get("min_pixels") or size.get("shortest_edge") or least)
        most = int(self._settings.get("max_pixels") or size.get("longest_edge") or most)
        if not self._of_whole_video:
            if self._max_pixels is not None:
                least, most = min(least, self._max_pixels), min(most, self._max_pixels)
            return scaled(height, width, unit, least, most)
        capped, frame_tokens = self._settings.get("cap_pixels_per_frame"), self._settings.get("max_video_tokens")
        if self._max_pixels is not None and most > self._max_pixels * _STEP:
            before = int(frame_tokens or _FRAME_LIMIT) if capped else self._max_pixels
            capped, frame_tokens = True, min(before, self._max_pixels // unit**2)
            least = shortest(least, most, self._max_pixels, int(self._settings.get("max_frames") or _MOST))
        if capped:
            frame = max(min(int(frame_tokens or _FRAME_LIMIT) * unit * unit, most // shown), int(least * 1.05))
            most = frame * shown
        return scaled_video(height, width, shown, unit, least, most)

    def _stamps(self, shown: int, frames: int, rate: float) -> int:
        """Tokens of the seconds that Qwen3-VL's processor writes before each step in time."""
        numbers = [round(place * (frames - 1) / max(1, shown - 1)) for place in range(shown)]
        numbers += [numbers[-1]] * (-shown % _STEP)
        pairs = zip(numbers[::_STEP], numbers[1::_STEP], strict=True)
        return sum(self._texts(f"<{(one / rate + other / rate) / 2:.1f} seconds>") for one, other in pairs)


def shortest(least: int, most: int, max_pixels: int, frames: int) -> int:
    """The smallest size of a whole video under which no frame is kept larger than it may be.

    The processor lets each frame have 1.05 times that size, however small and however many the frames are asked to be.

    Args:
        least: the smallest size as the settings have it, in pixels.
        most: the largest size of a whole video.
        max_pixels: the largest frame.
        frames: how many there are at most.
    """
    return max(1, min(least, int(min(max_pixels, most // frames) / 1.05)))


def scaled_video(height: int, width: int, frames: int, unit: int, least: int, most: int) -> tuple[int, int]:
    """The size to which Qwen3-VL's processor scales the frames of a video (its ``smart_resize``).

    Args:
        height: in pixels.
        width: in pixels.
        frames: that are shown.
        unit: both edges become multiples of it.
        least: smallest size of all frames together, in pixels.
        most: largest size of all frames together, in pixels.

    Returns:
        Height and width.
    """
    if min(height, width) < unit:
        scale = max(unit / height, unit / width)
        height, width = int(height * scale), int(width * scale)
    rows, columns = round(height / unit) * unit, round(width / unit) * unit
    size = round(frames / _STEP) * _STEP * rows * columns
    if size > most:
        shrink = math.sqrt(frames * height * width / most)
        rows = max(unit, math.floor(height / shrink / unit) * unit)
        columns = max(unit, math.floor(width / shrink / unit) * unit)
    elif size < least:
        grow = math.sqrt(least / (frames * height * width))
        rows, columns = math.ceil(height * grow / unit) * unit, math.ceil(width * grow / unit) * unit
    return rows, columns
