"""Vision features that several machines and runs share: brought from a store before, taken there afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from typing import Final

from airtune.errors import AirtuneError
from airtune.stores.base import Store
from airtune.stores.opening import open_store
from airtune.stores.permission import check_source
from airtune.stores.trees import in_parallel
from airtune.training.features.files import FeatureFiles

_SETTING: Final = "model.airtune.featureCache"


class SharedFeatures:
    """The features of one identity in a store: ``<uri>/<name>/<first two digits>/<picture>.safetensors``.

    Files are named by what they are of, and equal wherever they were made: what is there never has to be sent again,
    and several runs may push at once. A store that is away costs nothing but a warning: features are then computed.

    Args:
        uri: ``file://…`` or ``s3://…``, as the run.json says.
        files: where they are on this machine.
        say: where lines go.

    Raises:
        NotPermittedError: the installation does not allow this place.
        SettingsError: it is no URI.
    """

    def __init__(self, uri: str, files: FeatureFiles, say: Callable[[str], None]) -> None:
        check_source(uri, where=_SETTING)
        self._files = files
        self._say = say
        self._store: Store = open_store(uri).sub(files.folder.name)
        self.uri = uri
        self._there: set[str] = set()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def pull(self, pictures: Iterable[str], may_take: Callable[[int], bool], stopped: Callable[[], bool]) -> int:
        """Brings those features that are in the store and not on this machine.

        Args:
            pictures: sha256 (hex) of the pictures' files.
            may_take: asked for room, in bytes, before each.
            stopped: whether to give up.

        Returns:
            How many came.
        """
        try:
            sizes = {info.key: info.size for info in self._store.list()}
            self._there = set(sizes)
            wanted = [
                picture
                for picture in pictures
                if self._key(picture) in sizes and not self._files.has(picture) and may_take(sizes[self._key(picture)])
            ]
            return sum(in_parallel(lambda picture: not stopped() and self._bring(picture), wanted))
        except (AirtuneError, OSError) as error:
            self._say(f"warning: {self.uri} cannot be read ({error}); its features are computed here")
            return 0

    def push_in_background(self, pictures: Collection[str]) -> None:
        """Takes what the store does not have there, while training goes on."""
        missing = [picture for picture in pictures if self._key(picture) not in self._there]
        if missing:
            self._thread = threading.Thread(target=self._push, args=(missing,), name="features", daemon=True)
            self._thread.start()

    def close(self, *, wait: bool) -> None:
        """Ends the copying: when all is there, or (``wait=False``, the process has to go) after the file in hand."""
        if not wait:
            self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _bring(self, picture: str) -> bool:
        self._store.download_file(self._key(picture), self._files.path(picture))
        if self._files.get(picture) is not None:
            return True
        self._there.discard(self._key(picture))  # damaged: the right one replaces it
        return False

    def _push(self, pictures: Collection[str]) -> None:
        def send(picture: str) -> bool:
            path = self._files.path(picture)
            if self._stopped.is_set() or not path.is_file():  # it made way for another run's
                return False
            self._store.upload_file(path, self._key(picture))
            return True

        try:
            sent = sum(in_parallel(send, pictures))
            self._say(f"vision features of {sent:,} pictures copied to {self.uri}")
        except (AirtuneError, OSError) as error:
            self._say(f"warning: vision features could not be copied to {self.uri} ({error})")

    def _key(self, picture: str) -> str:
        return self._files.path(picture).relative_to(self._files.folder).as_posix()
