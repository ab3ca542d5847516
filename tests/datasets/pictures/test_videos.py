"""Videos: decoded once from beginning to end, set aside with a reason where that does not work, read by frame."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from films import write_film

from airtune.datasets.draft import Draft, Outcome, SetAside
from airtune.datasets.pictures.decoding import UnusableImageError
from airtune.datasets.pictures.images import Images
from airtune.datasets.pictures.videos import Film, look, read_frames
from airtune.datasets.readers.chat_jsonl import ChatReader
from airtune.datasets.sources.source import Source
from airtune.runspec.tasks import Task


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "videos" / "a.mp4"
    path.parent.mkdir()
    return write_film(path, frames=20, size=(64, 48))


def test_a_films_size_length_and_rate_are_found(film: Path) -> None:
    facts = look(film, name="a")
    assert (facts.width, facts.height, facts.frames, facts.rate) == (64, 48, 20, 8.0)


def test_frames_are_read_by_their_numbers(film: Path) -> None:
    with av.open(str(film)) as container:
        every = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    np.testing.assert_array_equal(read_frames(film, [0, 7, 19], name="a"), every[[0, 7, 19]])


def test_a_frame_may_be_shown_twice(film: Path) -> None:
    twice = read_frames(film, [3, 3], name="a")
    np.testing.assert_array_equal(twice[0], twice[1])


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "video-damaged"), (b"no film at all", "video-damaged"), (None, "video-damaged")],
    ids=["empty", "text", "cut"],
)
def test_a_file_that_is_no_whole_film_is_refused(film: Path, content: bytes | None, reason: str) -> None:
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2] if content is None else content)
    with pytest.raises(UnusableImageError) as refused:
        look(film, name="a")
    assert refused.value.reason == reason


def test_one_frame_is_no_film(tmp_path: Path) -> None:
    with pytest.raises(UnusableImageError) as refused:
        look(write_film(tmp_path / "a.mp4", frames=1), name="a")
    assert refused.value.reason == "video-too-short"


def test_sound_alone_is_no_film(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux([*stream.encode(sound), *stream.encode(None)])
    with pytest.raises(UnusableImageError) as refused:
        look(path, name="a")
    assert refused.value.reason == "video-unreadable"


def test_a_film_that_has_changed_since_validation_is_refused(film: Path, tmp_path: Path) -> None:
    facts = look(film, name="a")
    images = Images(tmp_path.as_uri())
    known = Film(images, "videos/a.mp4", facts.digest, facts.width, facts.height, facts.frames, facts.rate)
    assert known.read([0]).shape == (1, 48, 64, 3)
    write_film(film, frames=21)
    with pytest.raises(UnusableImageError) as refused:
        known.read([0])
    assert refused.value.reason == "image-changed"


def only(root: Path, task: Task = Task.VIDEO_FREEFORM, **shown: Any) -> Outcome:
    messages = [{"role": "user", "content": "<video>"}, {"role": "assistant", "content": "It moves."}]
    (root / "data.jsonl").write_text(json.dumps({"messages": messages, **shown}) + "\n", encoding="utf-8")
    [outcome] = list(ChatReader(Source.open(root.as_uri())).read(task))
    return outcome


@pytest.mark.parametrize("shown", [{"videos": ["videos/a.mp4"]}, {"video": "a.mp4"}])
def test_a_line_names_its_film(film: Path, tmp_path: Path, shown: dict[str, Any]) -> None:
    draft = only(tmp_path, **shown)
    assert isinstance(draft, Draft), draft
    assert (draft.video, draft.images, draft.truth) == ("videos/a.mp4", (), {"caption": "It moves."})


@pytest.mark.parametrize(
    ("task", "shown", "reason"),
    [
        (Task.VIDEO_FREEFORM, {}, "video-not-named"),
        (Task.VIDEO_FREEFORM, {"videos": ["a.mp4", "a.mp4"]}, "video-not-named"),
        (Task.VIDEO_FREEFORM, {"videos": ["a.mp4"], "images": ["a.mp4"]}, "video-not-named"),
        (Task.VIDEO_FREEFORM, {"videos": ["gone.mp4"]}, "image-missing"),
        (Task.FREEFORM, {"videos": ["a.mp4"]}, "video"),
    ],
)
def test_a_line_without_one_film_is_set_aside(
    film: Path, tmp_path: Path, task: Task, shown: dict[str, Any], reason: str
) -> None:
    aside = only(tmp_path, task, **shown)
    assert isinstance(aside, SetAside)
    assert aside.reason == reason, aside.message


@pytest.mark.parametrize("clockwise", [90, 180, 270])
def test_a_film_that_was_taken_with_the_camera_turned_stands_upright(film: Path, clockwise: int) -> None:
    before = read_frames(film, [0, 7], name="a")
    turn(film, clockwise)
    facts = look(film, name="a")
    assert (facts.width, facts.height) == ((64, 48) if clockwise == 180 else (48, 64))
    np.testing.assert_array_equal(read_frames(film, [0, 7], name="a"), np.rot90(before, -clockwise // 90, axes=(1, 2)))


def test_a_film_that_stands_askew_is_refused(film: Path) -> None:
    turn(film, 30)
    with pytest.raises(UnusableImageError, match="turned by") as refused:
        look(film, name="a")
    assert refused.value.reason == "video-unreadable"


def turn(film: Path, clockwise: int) -> None:
    """Write a turn into the track's matrix, as cameras do (ISO/IEC 14496-12, 8.3.2): the frames stay as they are."""
    data = bytearray(film.read_bytes())
    place = data.index(b"tkhd") + 44
    cos, sin = (round(value(math.radians(clockwise)) * 65536) for value in (math.cos, math.sin))
    data[place : place + 36] = struct.pack(">9i", cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 30)
    film.write_bytes(data)
