"""The vision features of one run: found, brought, computed and kept, before the loop begins."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from airtune.environment import Environment
from airtune.modeling.vision_features import PictureEncoder
from airtune.training import ranks
from airtune.training.features.files import FeatureFiles
from airtune.training.features.filling import Demand, fill
from airtune.training.features.identity import name_of
from airtune.training.features.room import Room
from airtune.training.features.sharing import SharedFeatures
from airtune.training.samples import Samples
from airtune.training.stopping import StopRequest

FOLDER: Final = ("cache", "features")
"""Below AIRTUNE_HOME."""

_READERS: Final = 4


@contextmanager
def kept_features(
    described: dict[str, Any],
    seeing: PictureEncoder,
    train: Samples,
    validation: Samples,
    *,
    epochs: int,
    shared_uri: str | None,
    stop: StopRequest,
    say: Callable[[str], None],
) -> Iterator[None]:
    """Within, samples serve features instead of pixels where these are kept.

    The processes of one machine encode a part of the pictures each, and serve what all of them have kept.

    Args:
        described: whose features they are, see :func:`airtune.training.features.identity.identity`.
        seeing: encodes pictures.
        train: its ``features`` are set.
        validation: likewise.
        epochs: how often both are looked at.
        shared_uri: where features are kept between machines and runs, or None.
        stop: obeyed between two pictures.
        say: where lines go.

    Raises:
        PreemptedError: told to stop while pictures are encoded; what was encoded is kept.
        NotPermittedError: the installation does not allow ``shared_uri``.
    """
    kept = _opened(described, shared_uri, say)
    finished = False
    try:
        if kept is not None:
            kept.gather(Demand.of(train.records, validation.records, epochs), seeing, train.look, stop)
            train.features = validation.features = kept.files
        if stop.ask():
            stop.obey("nothing was lost: it had not begun to train, and the pictures encoded so far are kept")
        yield
        finished = True
    finally:
        train.features = validation.features = None
        if kept is not None:
            kept.close(wait=finished and not stop)


@dataclass
class _Kept:
    files: FeatureFiles
    room: Room
    shared: SharedFeatures | None
    say: Callable[[str], None]

    def gather(
        self, demand: Demand, seeing: PictureEncoder, look: Callable[[str, str], Any], stop: StopRequest
    ) -> None:
        """Brings what the store has, and encodes the rest where that pays."""
        begin, step = ranks.place_here()
        pictures = list(demand.pictures.items())[begin::step]
        digests = [digest for digest, _ in pictures]
        self.files.touch(digests)
        brought = self.shared.pull(digests, self.room.take, lambda: stop.noticed) if self.shared else 0
        there = _whole(self.files, digests)
        missing = [pair for pair in pictures if pair[0] not in there]
        self.say(
            f"vision features: those of {len(there):,} of {len(pictures):,} pictures are known from before"
            + (f", {brought:,} of them from {self.shared.uri}" if self.shared else "")
        )
        if missing and not demand.repeats and self.shared is None:
            self.say("each picture is looked at once: encoding them ahead would not pay")
        elif missing and not stop.noticed:
            self._fill(missing, seeing, look, stop)
        if self.shared is not None and not stop.noticed:
            self.shared.push_in_background([digest for digest in digests if self.files.has(digest)])

    def _fill(
        self,
        missing: Sequence[tuple[str, str]],
        seeing: PictureEncoder,
        look: Callable[[str, str], Any],
        stop: StopRequest,
    ) -> None:
        began = time.monotonic()
        done = fill(
            missing,
            self.files,
            seeing,
            look,
            may_take=self.room.take,
            stopped=lambda: stop.noticed,
            say=self.say,
        )
        seconds = time.monotonic() - began
        self.say(f"{done.encoded:,} pictures encoded in {seconds:.1f} s, the features of {done.kept:,} kept")
        if done.full:
            free = shutil.disk_usage(self.files.folder).free
            self.say(
                f"no room for the features of {len(missing) - done.kept:,} pictures (limit "
                f"{self.room.limit / 1e9:.3g} GB, {free / 1e9:.3g} GB free): they are encoded at each step"
            )

    def close(self, *, wait: bool) -> None:
        """Ends the copying to the store, and lets other runs remove what this one has used."""
        if self.shared is not None:
            self.shared.close(wait=wait)
        self.room.close()


def _opened(described: dict[str, Any], shared_uri: str | None, say: Callable[[str], None]) -> _Kept | None:
    """The place on this machine; None where nothing is to be kept, or the disk does not take it."""
    surroundings = Environment.read()
    limit = int(surroundings.feature_cache_gb * 1e9)
    if limit == 0:
        say("vision features are not kept: AIRTUNE_FEATURE_CACHE_GB is 0")
        return None
    root: Path = surroundings.home.joinpath(*FOLDER)
    files = FeatureFiles(root / name_of(described))
    shared = SharedFeatures(shared_uri, files, say) if shared_uri is not None else None
    try:
        files.prepare(described)
        return _Kept(files, Room(root, files.folder, limit), shared, say)
    except OSError as error:
        say(f"warning: vision features cannot be kept below {root}: {error.strerror or error}")
        return None


def _whole(files: FeatureFiles, pictures: Sequence[str]) -> set[str]:
    """Those whose features are there and right: each file is read once, so that no damaged one is met in the loop."""
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(lambda picture: files.get(picture) is not None, pictures)
        return {picture for picture, whole in zip(pictures, found, strict=True) if whole}
