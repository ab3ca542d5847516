"""Bringing a workspace up to date with a store and back: only what differs, markers last.

A folder that holds a ``COMPLETE`` marker (a checkpoint) is one thing: before any of its files is
changed the marker at the destination is removed, afterwards it is written again, and files that the
source does not have are removed. So a transfer that is cut off never looks like a whole checkpoint.
"""

from __future__ import annotations

from pathlib import Path

from airtune.stores.base import (
    MARKER,
    PRIVATE_PREFIX,
    MissingError,
    ObjectInfo,
    ProgressCallback,
    Store,
    check_key,
    is_marker,
)
from airtune.stores.trees import ProgressMeter, in_parallel, local_files, parted_from_markers
from airtune.stores.workspace import WorkspaceIndex


def fetch(
    store: Store, workspace: Path, index: WorkspaceIndex, prefix: str, progress: ProgressCallback | None = None
) -> int:
    """Bring what lies at ``prefix`` (a folder or a file; "" is everything) and differs from the workspace.

    The store wins over a local file, with two exceptions that are work this workspace has not pushed yet:
    a file changed here since it was copied, while the store's version is still the one it was copied from;
    and a folder that is complete here and not complete in the store. Files that only exist here stay.

    Returns:
        How many files came.
    """
    remote = {info.key: info for info in store.list(prefix)}
    local = _local(workspace, prefix)
    better_here = {root for root in _marked(local) if f"{root}/{MARKER}" not in remote}
    wanted = {
        path
        for path, info in remote.items()
        if not _inside(path, better_here)
        and not (path in local and index.knows(path, info))  # the same, or changed here and not yet pushed
    }
    for path in wanted:
        check_key(path, where=store.uri)
    for root in _marked(remote):
        stale = {path for path in local if path.startswith(f"{root}/") and path not in remote}
        if stale or any(path.startswith(f"{root}/") for path in wanted):
            (workspace / root / MARKER).unlink(missing_ok=True)
            for path in stale:
                (workspace / path).unlink(missing_ok=True)
            wanted.add(f"{root}/{MARKER}")
    if not wanted:
        return 0
    meter = ProgressMeter(len(wanted), sum(remote[path].size for path in wanted), progress)

    def bring(path: str) -> None:
        info = store.download_file(path, workspace / path, meter.add_bytes)
        index.record(path, info, (workspace / path).stat())
        meter.add_file()

    ordinary, markers = parted_from_markers(sorted(wanted, key=str.encode))
    try:
        in_parallel(bring, ordinary)
        in_parallel(bring, markers)
    finally:
        index.save()
    return len(wanted)


def push(
    store: Store, workspace: Path, index: WorkspaceIndex, prefix: str, progress: ProgressCallback | None = None
) -> int:
    """Upload what lies at ``prefix`` in the workspace (a folder or a file) and differs from the store.

    Files that only exist in the store stay, except in a folder that is complete here.

    Returns:
        How many files went.

    Raises:
        MissingError: there is nothing at ``prefix`` in the workspace.
    """
    from airtune.errors import Problem

    local = _local(workspace, prefix)
    if not local:
        raise MissingError(Problem(str(workspace / prefix), "there is nothing to upload"))
    remote = {info.key: info for info in store.list(prefix)}
    wanted = {path for path in local if not index.matches(path, remote.get(path))}
    for root in _marked(local):
        stale = [path for path in remote if path.startswith(f"{root}/") and path not in local]
        if stale or any(path.startswith(f"{root}/") for path in wanted):
            if f"{root}/{MARKER}" in remote:
                store.delete(f"{root}/{MARKER}")
            for path in stale:
                store.delete(path)
            wanted.add(f"{root}/{MARKER}")
    if not wanted:
        return 0
    meter = ProgressMeter(len(wanted), sum((workspace / path).stat().st_size for path in wanted), progress)

    def send(path: str) -> None:
        found = (workspace / path).stat()  # before the upload: a change during it is seen as one afterwards
        info = store.upload_file(workspace / path, path, meter.add_bytes)
        index.record(path, info, found)
        meter.add_file()

    ordinary, markers = parted_from_markers(sorted(wanted, key=str.encode))
    try:
        in_parallel(send, ordinary)
        in_parallel(send, markers)
    finally:
        index.save()
    return len(wanted)


def _local(workspace: Path, prefix: str) -> set[str]:
    start = workspace / check_key(prefix) if prefix else workspace
    if not start.exists():
        return set()
    paths = (f"{prefix}/{path}" if prefix and path else prefix or path for path in local_files(start))
    return {path for path in paths if not path.rsplit("/", 1)[-1].startswith(PRIVATE_PREFIX)}


def _marked(paths: dict[str, ObjectInfo] | set[str]) -> list[str]:
    """The folders that hold a marker; a marker at the very top marks no folder."""
    return [path.rpartition("/")[0] for path in paths if is_marker(path) and "/" in path]


def _inside(path: str, roots: set[str]) -> bool:
    return any(path.startswith(f"{root}/") for root in roots)
