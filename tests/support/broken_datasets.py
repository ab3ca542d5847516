"""Datasets that are broken in any way: nothing that they hold may end in anything but words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from airtune.datasets.annotations.control_tokens import ControlTokens
from airtune.datasets.draft import REMEDIES, Draft, Reject, SetAside
from airtune.datasets.pictures.images import Images
from airtune.datasets.pictures.inspection import Inspected, inspect
from airtune.datasets.readers.formats import READERS
from airtune.datasets.samples import sample_of
from airtune.datasets.sources.source import Source
from airtune.errors import AirtuneError
from airtune.runspec.tasks import Task

SPECIMENS: Final = Path(__file__).parents[1] / "datasets" / "specimens"
"""One small dataset a format."""

TASKS: Final = [task for task in Task if not task.needs_video]
PICTURES: Final = (".png", ".jpg", ".jpeg", ".heic", ".webp", ".tif", ".tiff", ".bmp", ".gif")
PIECES: Final = [
    b"", b" ", b"\n", b"\r\n", b"\t", b",", b";", b":", b'"', b"'", b"{", b"}", b"[", b"]", b"<", b">", b"</", b"&",
    b"\\", b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"1.5", b"9" * 400, b"99999999999", b"../", b"- ",
    b"/etc/passwd", b"https://x/a.png", b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\xff", "ü".encode(), b"\\ud800",
    b"<image>", b"&a;", b"!!python/object:os.system", b"[" * 300,
]  # fmt: skip
"""What breaks parsers."""

_CONTROLS: Final = ControlTokens()


class Known(dict[str, Any]):
    """What is known of images that were looked at once; every other file is none."""

    def __missing__(self, key: str) -> Reject:
        return Reject("image-unreadable", f"{key} is no image")


class Spoilt:
    """A copy of a format's specimen, one file of which is replaced again and again.

    Args:
        name: of the format.
        folder: where to put the copy; it does not exist.
    """

    def __init__(self, name: str, folder: Path) -> None:
        shutil.copytree(SPECIMENS / name, folder)
        self.name = name
        self.root = folder
        self.files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix.lower() not in PICTURES
        }
        pictures = [path for path in folder.rglob("*") if path.suffix.lower() in PICTURES]
        keys = {path.relative_to(folder).as_posix() for path in pictures}
        self._inspected: Inspected = Known(inspect(Images(folder.as_uri()), keys))

    def read(self, task: Task, contents: Mapping[str, bytes]) -> tuple[int, int]:
        """Reads the dataset with other contents in some of its files, which are put back afterwards.

        Returns:
            Samples that could be used and samples that were set aside.

        Raises:
            AssertionError: a sample was set aside for no known reason, or something cannot be written down.
        """
        try:
            for name, content in contents.items():
                (self.root / name).write_bytes(content)
            return self._counted(task)
        finally:
            for name in contents:
                (self.root / name).write_bytes(self.files[name])

    def _counted(self, task: Task) -> tuple[int, int]:
        used = aside = 0
        try:
            source = Source.open(self.root.as_uri())
            for reader in READERS.values():
                reader.recognises(source)
            reader_of = READERS[self.name](source)
            outcomes = list(reader_of.read(task))
        except AirtuneError as error:  # the dataset as a whole is refused, in words
            json.dumps(error.to_json())
            return 0, 0
        for outcome in outcomes:
            row = self._tried(outcome, task) if isinstance(outcome, Draft) else outcome
            assert row is None or row.reason in REMEDIES
            used += row is None
            aside += row is not None
            if row is not None:
                json.dumps(row.to_json(), ensure_ascii=False).encode("utf-8")
        assert used + aside == len(outcomes)
        "\n".join([*reader_of.notes(), *reader_of.images()]).encode("utf-8")
        return used, aside

    def _tried(self, draft: Draft, task: Task) -> SetAside | None:
        try:
            row, _ = sample_of(draft, self._inspected, task, None, _CONTROLS)
        except Reject as refusal:
            return refusal.at(draft.place, draft.images)
        "".join(str(value) for value in row).encode("utf-8")
        return None
