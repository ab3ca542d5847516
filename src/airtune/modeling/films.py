"""Videos as a processor takes them: some frames, each with the second at which it stands."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from airtune.errors import Problem, SettingsError

if TYPE_CHECKING:
    import numpy as np


@runtime_checkable
class Film(Protocol):
    """A video whose frames can be asked for: :class:`airtune.datasets.videos.Film`."""

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
    return [int(number) for number in videos.sample_frames(metadata=_metadata(film), **settings)]


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
