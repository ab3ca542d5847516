"""Videos as a processor takes them: some frames, each with the second at which it stands."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from airtune.errors import Problem, SettingsError

if TYPE_CHECKING:
    import numpy as np


_RATE: Final = 2.0
"""Frames a second where a processor's settings name neither a rate nor a number (Qwen2.5-VL as it is published); the
Qwen family's own choice."""

_SHORTEST_FACTOR: Final = 1.05
"""Qwen3-VL's processor lets each frame have so many times the smallest size of a whole video."""


@runtime_checkable
class Film(Protocol):
    """A video whose frames can be asked for: :class:`airtune.datasets.pictures.videos.Film`."""

    @property
    def width(self) -> int:
        """Of a frame, in pixels."""

    @property
    def height(self) -> int:
        """Likewise."""

    @property
    def frames(self) -> int:
        """How many there are."""

    @property
    def rate(self) -> float:
        """Frames a second."""

    def read(self, numbers: Sequence[int]) -> np.ndarray[Any, Any]:
        """Some frames, counted from 0: uint8, shape (frames, height, width, 3)."""


def frame_numbers(processor: Any, film: Film) -> list[int]:
    """The frames that the model is shown: as many a second as its processor's settings say, within their limits.

    Raises:
        SettingsError: the processor takes no videos.
    """
    videos = getattr(processor, "video_processor", None)
    if videos is None or not hasattr(processor, "video_token"):
        raise SettingsError(
            Problem("baseModel", f"{type(processor).__name__} takes no videos",
                    fix="choose an architecture that does, for example qwen3vl")
        )  # fmt: skip
    asked = inspect.signature(videos.sample_frames).parameters
    # What the settings leave out is the function's own default.
    settings = {name: value for name in asked if (value := getattr(videos, name, None)) is not None}
    if "fps" in asked and not settings.keys() & {"fps", "num_frames"}:
        settings["fps"] = _RATE
    return [int(number) for number in videos.sample_frames(metadata=_metadata(film), **settings)]


def limit_frames(processor: Any, max_pixels: int) -> None:
    """Scales the frames of videos down to ``max_pixels`` (width x height), by the video processor itself.

    As for pictures, only the Qwen family's processors scale to an area; others are left as they are. Qwen2.5-VL's
    limits are those of a frame, Qwen3-VL's those of a whole video and, beside them, of a frame in tokens. A video never
    becomes more than it was. The limit is saved with the processor.

    Raises:
        SettingsError: the limit had no effect.
    """
    videos: Any = getattr(processor, "video_processor", None)
    if videos is None or not hasattr(videos, "merge_size") or not hasattr(videos, "cap_pixels_per_frame"):
        return
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

    unit = int(videos.patch_size) * int(videos.merge_size)
    shortest, longest = int(videos.size["shortest_edge"]), int(videos.size["longest_edge"])
    if isinstance(videos, Qwen3VLVideoProcessor):
        if longest <= max_pixels * int(videos.temporal_patch_size):
            return  # not even the shortest video has frames that are larger
        before = int(videos.max_video_tokens) if videos.cap_pixels_per_frame else max_pixels
        videos.cap_pixels_per_frame, videos.max_video_tokens = True, min(before, max_pixels // unit**2)
        # With a limit for each frame the processor gives every frame the smallest size, however many there are.
        shortest = max(1, min(shortest, int(min(max_pixels, longest // int(videos.max_frames)) / _SHORTEST_FACTOR)))
    else:
        shortest, longest = min(shortest, max_pixels), min(longest, max_pixels)
    limits = {"shortest_edge": shortest, "longest_edge": longest}
    videos.size = limits if isinstance(videos.size, dict) else type(videos.size)(**limits)
    frames, edge = 2 * int(videos.temporal_patch_size), 8 * unit + int(max_pixels**0.5)
    patches = int(videos.get_num_of_video_patches(frames, edge, edge, {}))
    area = patches * int(videos.patch_size) ** 2 * int(videos.temporal_patch_size) // frames
    if area > max_pixels:
        raise SettingsError(
            Problem("maxPixels", f"had no effect on {type(videos).__name__}: a frame still has {area} pixels",
                    value=str(max_pixels))
        )  # fmt: skip


def processed(processor: Any, film: Film, frames: np.ndarray[Any, Any]) -> Any:
    """What a processor makes of one video and its place in a text: ``input_ids``, ``pixel_values_videos`` ...

    Args:
        processor: of the model.
        film: which the frames are of.
        frames: those of :func:`frame_numbers`, shape (frames, height, width, 3).
    """
    features = processor(
        text=[processor.video_token],
        videos=[frames],
        video_metadata=[_metadata(film, frame_numbers(processor, film))],
        do_sample_frames=False,
        add_special_tokens=False,
        return_tensors="pt",
    )
    return {name: value for name, value in features.items() if name != "video_metadata"}


def _metadata(film: Film, numbers: list[int] | None = None) -> Any:
    from transformers.video_utils import VideoMetadata

    return VideoMetadata(
        total_num_frames=film.frames,
        fps=film.rate,
        width=film.width,
        height=film.height,
        duration=film.frames / film.rate,
        frames_indices=numbers,
    )
