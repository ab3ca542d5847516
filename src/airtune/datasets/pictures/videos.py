"""Videos of a dataset: looked at once, whole; afterwards only the frames that are wanted are decoded.

PyAV brings the codecs. It is imported where a video is opened, so that a run of images needs none of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airtune.datasets.pictures.decoding import LARGEST_PICTURE, SMALLEST_SIDE, UnusableImageError
from airtune.datasets.pictures.images import Images
from airtune.datasets.record import Record
from airtune.errors import Problem, SettingsError

if TYPE_CHECKING:
    import numpy as np

FEWEST_FRAMES: Final = 2
"""A video of one frame is a picture: two are the least that the video processors take."""

_QUARTER: Final = 90


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What is known about a usable video.

    Attributes:
        digest: sha256 (hex) of the file.
        width: as it is seen (turned upright), in pixels.
        height: likewise.
        frames: how many there are; all of them were decoded.
        rate: frames a second.
    """

    digest: str
    width: int
    height: int
    frames: int
    rate: float


@dataclass(frozen=True, slots=True)
class Film:
    """The video of one sample, read when its frames are asked for.

    Attributes:
        images: where the dataset is.
        key: of the file, relative to the root.
        digest: sha256 (hex) that it must have.
        width: of a frame in pixels.
        height: likewise.
        frames: how many there are.
        rate: frames a second.
    """

    images: Images
    key: str
    digest: str
    width: int
    height: int
    frames: int
    rate: float

    @classmethod
    def of(cls, record: Record, images: Images) -> Film | None:
        """The video of a sample, or None where it shows none."""
        if record.video is None or record.video_digest is None:
            return None
        return cls(
            images, record.video, record.video_digest, record.width, record.height, record.frames, record.frame_rate
        )

    def read(self, numbers: Sequence[int]) -> np.ndarray[Any, Any]:
        """Some frames as the model sees them, RGB and upright.

        Args:
            numbers: which, counted from 0, in rising order.

        Returns:
            uint8, shape (frames, height, width, 3).

        Raises:
            UnusableImageError: the file is gone, has changed since validation or cannot be decoded.
        """
        return read_frames(self.images.path(self.key, self.digest), numbers, name=self.key)


def look(path: Path, *, name: str) -> VideoFacts:
    """Decodes a video from its beginning to its end.

    Raises:
        UnusableImageError: it is no video, is damaged, too short, or of frames that are too large or too small.
    """
    with _opened(path, name) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate
        frames, size = 0, (0, 0)
        for frame in container.decode(stream):
            frames, size = frames + 1, _size(frame, name)
        if not rate:
            raise _unusable("video-unreadable", name, "it does not say how many frames a second it has")
        if frames < FEWEST_FRAMES:
            raise _unusable("video-too-short", name, f"it has {frames} frames")
        if size[0] * size[1] > LARGEST_PICTURE or min(size) < SMALLEST_SIDE:
            raise _unusable("video-unreadable", name, f"its frames have {size[0]} x {size[1]} pixels")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return VideoFacts(digest, *size, frames, float(rate))


def read_frames(path: Path, numbers: Sequence[int], *, name: str) -> np.ndarray[Any, Any]:
    """Some frames of a file, see :meth:`Film.read`."""
    import numpy as np

    wanted = set(numbers)
    found: dict[int, Any] = {}
    with _opened(path, name) as (container, stream):
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                found[number] = np.rot90(frame.to_ndarray(format="rgb24"), _quarter_turns(frame, name))
            if len(found) == len(wanted):
                break
    if len(found) < len(wanted):
        raise _unusable("video-damaged", name, f"it has no frame {max(wanted - set(found))}")
    return np.stack([found[number] for number in numbers])


@contextmanager
def _opened(path: Path, name: str) -> Iterator[tuple[Any, Any]]:
    try:
        import av
    except ImportError as error:
        raise SettingsError(
            Problem("projectKind", "videos are read with PyAV, which is not installed here",
                    fix="install airtune with its extra `trainer`")
        ) from error  # fmt: skip
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise _unusable("video-unreadable", name, "there is no picture in it")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream
    except (av.FFmpegError, ValueError, MemoryError, IndexError) as error:
        words = getattr(error, "strerror", None) or str(error)  # the whole text of FFmpeg's errors names our own paths
        raise _unusable("video-damaged", name, f"it cannot be decoded: {words[:200]}") from error


def _quarter_turns(frame: Any, name: str) -> int:
    """How often a frame is turned by 90 degrees, against the clock, to stand upright."""
    turned = int(frame.rotation)
    if turned % _QUARTER:
        raise _unusable("video-unreadable", name, f"its frames are turned by {turned} degrees")
    return turned // _QUARTER % 4


def _size(frame: Any, name: str) -> tuple[int, int]:
    return (frame.height, frame.width) if _quarter_turns(frame, name) % 2 else (frame.width, frame.height)


def _unusable(reason: str, name: str, message: str) -> UnusableImageError:
    return UnusableImageError(reason, Problem(name, message))
