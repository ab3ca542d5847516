"""From a zip or tar file to a folder of plain files, whatever the archive holds.

Nothing of an archive is trusted: no name leads outside, nothing but files and links inside it comes out, no file is
written twice, and what comes out is limited by the archive's size and by the room on the disk. ``tarfile`` and
``zipfile`` read the formats; their ``extract`` is not used, because it follows links and passes over what it cannot
read. Zstandard is decoded by pyarrow, which is there anyway.
"""

from __future__ import annotations

import errno
import lzma
import os
import posixpath
import shutil
import struct
import tarfile
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from airtune.datasets.sources.archive_entries import Budget, Entry, entries_of, refused
from airtune.errors import DataError, Problem, StoreError

SUFFIXES: Final = (
    *(".zip", ".tar"),
    *(".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst"),
)
"""How the names of archives end that are unpacked."""

LITTER: Final = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX", ".git", ".ipynb_checkpoints"})
"""Names that operating systems and tools leave about: no part of a dataset."""

_MOST_MEMBERS: Final = 10_000_000
_CHUNK: Final = 1024**2
_LINKS_IN_A_ROW: Final = 16


def unpack(archive: Path, folder: Path, *, name: str) -> int:
    """Write everything that an archive holds into a folder.

    Args:
        archive: a zip file, or a tar file plain or compressed with gzip, bzip2, xz or Zstandard; told by its content.
        folder: an empty folder of our own.
        name: what to call the archive in errors.

    Returns:
        How many files there are.

    Raises:
        DataError: it is damaged, cut off, encrypted or no archive, a name in it leads outside or appears twice, or
            more comes out than an archive of this size can honestly hold.
        StoreError: the disk is full or cannot be written.
    """
    budget = Budget(archive, folder, name)
    links: dict[str, str] = {}
    files = 0
    try:
        with ExitStack() as opened:
            for number, member in enumerate(entries_of(archive, name, opened, budget), start=1):
                if number > _MOST_MEMBERS:
                    raise refused(name, f"it has more than {_MOST_MEMBERS:,} entries")
                if set(member.name.split("/")) & LITTER or posixpath.basename(member.name).startswith("._"):
                    continue
                if member.link is not None:
                    links[member.name] = member.link
                elif member.content is not None:
                    _write(folder / member.name, member, budget, name)
                    files += 1
        for member_name in links:
            _link(folder, member_name, links, name)
    except OSError as error:
        if error.errno is None:  # of a decompressor, not of the disk
            raise _damaged(name, error) from error
        raise StoreError(Problem(str(folder), f"{name} cannot be unpacked: {error.strerror}")) from error
    except _DAMAGE as error:
        raise _damaged(name, error) from error
    except (NotImplementedError, RuntimeError) as error:
        raise refused(name, f"it is packed in a way that is not read: {error}", fix=_AGAIN) from error
    return files + len(links)


_DAMAGE: Final = (
    *(zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, struct.error),
    *(EOFError, ValueError, IndexError, OverflowError),
)
_AGAIN: Final = "pack it as an ordinary zip (deflate) or tar.gz, or name the unpacked folder"


def _write(path: Path, member: Entry, budget: Budget, name: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            while member.content is not None and (chunk := member.content.read(_CHUNK)):
                budget.write(len(chunk))
                file.write(chunk)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise refused(name, f"two entries have the name {member.name!r}") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise refused(name, f"a name in it is too long: {member.name[:200]!r}") from error
        raise


def _link(folder: Path, member_name: str, links: dict[str, str], name: str) -> None:
    target = links[member_name]
    for _ in range(_LINKS_IN_A_ROW):
        if target not in links:
            break
        target = links[target]
    path, meant = folder / member_name, folder / target
    if not meant.is_file():
        raise refused(name, f"the link {member_name!r} leads to {target!r}, which is no file in the archive")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(meant, path)
    except FileExistsError as error:
        raise refused(name, f"two entries have the name {member_name!r}") from error
    except OSError:  # a file system without hard links
        shutil.copyfile(meant, path)


def _damaged(name: str, error: BaseException) -> DataError:
    words = (str(error) or type(error).__name__)[:200]
    return DataError(Problem(name, f"the archive is damaged or cut off: {words}", fix="copy or pack it again"))
