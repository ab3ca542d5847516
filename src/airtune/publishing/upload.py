"""Sends a run's files to the store and holds what arrived against what was sent: by size and by sha256.

The check reads every file back. S3's own checksum of a large file is one over its parts, and not every server keeps
it; the bytes that were read back are needed anyway, for the fresh process that loads the published bundle.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from airtune.errors import DefectError, Problem, StoreError
from airtune.publishing.bundle import Bundle
from airtune.stores import layout
from airtune.stores.base import FileRecord, ProgressCallback
from airtune.stores.hashing import sha256_of_file
from airtune.stores.run_directory import RunDirectory
from airtune.stores.trees import in_parallel


def upload(run: RunDirectory, bundle: Bundle, progress: ProgressCallback | None = None) -> None:
    """Send the bundle; what an earlier try has sent already is not sent again, what does not belong to it goes."""
    for folder in bundle.folders:
        for info in run.store.list(folder):
            if not (run.workspace / info.key).is_file():
                run.store.delete(info.key)
    run.push(*bundle.folders, progress=progress)


def verified(run: RunDirectory, folder: Path, progress: ProgressCallback | None = None) -> list[FileRecord]:
    """Read every file that the manifest will list back into an empty folder, and compare it with the workspace.

    Args:
        run: with all those files in its workspace.
        folder: takes the copies; the bundle in it is a true download.
        progress: told of the bytes as they come.

    Returns:
        The records, sorted by path.

    Raises:
        DefectError: a file arrived otherwise than it was sent; each is named.
    """
    there = [info for info in run.store.list() if not layout.is_live(info.key)]
    _check_room(folder, sum(info.size for info in there))
    arrived = run.store.download_tree("", folder, only=[info.key for info in there], progress=progress)
    sent = in_parallel(lambda record: _record_of(run.workspace, record.path), arrived)
    problems = []
    for record, here in zip(arrived, sent, strict=True):
        if here != record:
            was = f"{here.size:,} bytes, sha256 {here.sha256}" if here else "nothing"
            problems.append(
                Problem(f"{run.uri}/{record.path}", "is not what was sent",
                        value=f"{record.size:,} bytes, sha256 {record.sha256}", allowed=was, fix="run the stage again")
            )  # fmt: skip
    if problems:
        raise DefectError(problems)
    return arrived


def download_published(
    run: RunDirectory, files: Sequence[FileRecord], folder: Path, progress: ProgressCallback | None = None
) -> None:
    """Bring files of a published run into an empty folder.

    Raises:
        DefectError: one is not as the manifest has it; each is named.
    """
    _check_room(folder, sum(record.size for record in files))
    arrived = run.store.download_tree("", folder, only=[record.path for record in files], progress=progress)
    listed = {record.path: record for record in files}
    problems = [
        Problem(f"{run.uri}/{record.path}", "is not as the manifest has it", value=f"sha256 {record.sha256}",
                allowed=f"sha256 {listed[record.path].sha256}", fix="restore it, or start a new run")
        for record in arrived
        if listed[record.path] != record
    ]  # fmt: skip
    if problems:
        raise DefectError(problems)


def _record_of(workspace: Path, path: str) -> FileRecord | None:
    file = workspace / path
    return FileRecord(path, file.stat().st_size, sha256_of_file(file)) if file.is_file() else None


def _check_room(folder: Path, size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size:
        raise StoreError(
            Problem(str(folder), f"has room for {free:,} bytes and the published run has {size:,}",
                    fix="free some space, or set AIRTUNE_HOME to a larger disk")
        )  # fmt: skip
