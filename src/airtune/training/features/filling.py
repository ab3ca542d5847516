"""Encodes a run's pictures ahead of the loop, where that pays."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from airtune.datasets.record import Record
from airtune.errors import DataError
from airtune.modeling.encoding import Picture
from airtune.modeling.vision_features import PictureEncoder
from airtune.training.features.files import FeatureFiles, file_size

_DECODERS: Final = min(8, os.cpu_count() or 2)
_AHEAD: Final = 2 * _DECODERS
_SAY_EVERY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Demand:
    """Which pictures a run sees, and how often.

    Attributes:
        pictures: key of a picture's file by its sha256 (hex), in the order of the records.
        uses: how often a picture is looked at in the whole run, all pictures together.
    """

    pictures: Mapping[str, str]
    uses: int

    @classmethod
    def of(cls, train: Iterable[Record], validation: Iterable[Record], epochs: int) -> Demand:
        """Both splits are looked at once an epoch."""
        seen = [
            pair for record in (*train, *validation) for pair in zip(record.image_digests, record.images, strict=True)
        ]
        return cls(dict(seen), epochs * len(seen))

    @property
    def repeats(self) -> bool:
        """Whether any picture is looked at twice."""
        return self.uses > len(self.pictures)


@dataclass(slots=True)
class Filled:
    """What filling came to.

    Attributes:
        encoded: pictures that the tower has seen.
        kept: of those, the ones whose features were kept.
        full: whether there was no room for the others.
    """

    encoded: int = 0
    kept: int = 0
    full: bool = False


def fill(
    pictures: Sequence[tuple[str, str]],
    files: FeatureFiles,
    seeing: PictureEncoder,
    look: Callable[[str, str], Picture],
    *,
    may_take: Callable[[int], bool],
    stopped: Callable[[], bool],
    say: Callable[[str], None],
) -> Filled:
    """Encodes pictures and keeps their features, until all are done, there is no room, or the process has to stop.

    A picture that cannot be read is passed over: the loop will meet it, and name its sample.

    Args:
        pictures: (sha256, key) of each.
        files: where features are kept.
        seeing: the model's tower and projector.
        look: reads, decodes and processes the picture of this key and digest; runs in threads.
        may_take: asked for room, in bytes, before each file.
        stopped: asked before each picture.
        say: where lines go.
    """
    done = Filled()
    said = began = time.monotonic()
    for digest, picture in _decoded(pictures, look):
        if stopped():
            return done
        if picture is None:
            continue
        features = Picture(picture.tokens, seeing.encode(picture.vision))
        done.encoded += 1
        if not may_take(file_size(features)):
            done.full = True
            return done
        try:
            files.put(digest, features)
        except OSError as error:
            say(f"warning: vision features cannot be kept: {error.strerror or error}")
            done.full = True
            return done
        done.kept += 1
        now = time.monotonic()
        if now - said >= _SAY_EVERY_S:
            said = now
            rate = done.encoded / (now - began)
            left = (len(pictures) - done.encoded) / rate
            say(f"{done.encoded:,} of {len(pictures):,} pictures encoded ({rate:.1f} a second, {left:.0f} s left)")
    return done


def _decoded(
    pictures: Sequence[tuple[str, str]], look: Callable[[str, str], Picture]
) -> Iterator[tuple[str, Picture | None]]:
    """The processed pictures in order, some of them made ahead in threads; None for one that cannot be read."""
    waiting: deque[tuple[str, Future[Picture]]] = deque()
    todo = iter(pictures)
    with ThreadPoolExecutor(_DECODERS) as pool:
        try:
            while True:
                for digest, key in todo:
                    waiting.append((digest, pool.submit(look, key, digest)))
                    if len(waiting) >= _AHEAD:
                        break
                if not waiting:
                    return
                digest, future = waiting.popleft()
                try:
                    yield digest, future.result()
                except DataError:
                    yield digest, None
        finally:
            pool.shutdown(cancel_futures=True)
