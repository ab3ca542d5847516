"""Checkpoints on disk and in the store: complete or absent, never half, never trusted unseen.

A checkpoint is a folder ``checkpoints/step-N``. It is written under another name, sealed with the size and sha256 of
each file in a ``COMPLETE`` marker, and renamed. Before it is resumed every file is held against the seal; one that
does not match is passed over in favour of the one before.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from airtune.errors import Problem, StoreError
from airtune.stores import layout
from airtune.stores.base import MARKER, PRIVATE_PREFIX
from airtune.stores.hashing import sha256_of_file
from airtune.stores.run_directory import RunDirectory
from airtune.training.disk import disk_fault

_NAME: Final = re.compile(rf"{layout.CHECKPOINTS}/step-(\d+)/{MARKER}")


@contextmanager
def sealed(run: RunDirectory, step: int) -> Iterator[Path]:
    """A folder to write the checkpoint of ``step`` into; it becomes ``checkpoints/step-N`` when all went well.

    Raises:
        StoreError: the disk is full or does not take it; the checkpoints before are untouched.
    """
    final = run.workspace / layout.checkpoint(step)
    temporary = final.with_name(f"{PRIVATE_PREFIX}{final.name}-{os.getpid()}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        _seal(temporary, step)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        _sync(final.parent)
    except Exception as error:
        said = disk_fault(error) or (error.strerror if isinstance(error, OSError) else None)
        if said is None:
            raise
        raise StoreError(
            Problem(str(final), f"the checkpoint cannot be written: {said}",
                    fix="make room on the disk, or keep fewer checkpoints (checkpointsKept); the run resumes from "
                        "the checkpoint before")
        ) from error  # fmt: skip
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def faults(folder: Path) -> list[str]:
    """What is wrong with a checkpoint: nothing when every file is as it was sealed."""
    try:
        seal = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        files = {str(name): (int(entry["size"]), str(entry["sha256"])) for name, entry in seal["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ["it has no readable seal"]
    found = []
    for name, (size, digest) in sorted(files.items()):
        path = folder / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif path.stat().st_size != size or sha256_of_file(path) != digest:
            found.append(f"{name} is not as it was written")
    return found


def newest(run: RunDirectory, say: Callable[[str], None]) -> tuple[int, Path] | None:
    """The latest checkpoint that is whole: its step and folder; None when there is none.

    The store's are considered with the workspace's, and only the one that is used is fetched.
    """
    for step in sorted(_steps_here(run) | _steps_in_store(run), reverse=True):
        name = layout.checkpoint(step)
        folder = run.workspace / name
        wrong = faults(folder)
        if wrong and not run.uri.startswith("file:"):
            shutil.rmtree(folder, ignore_errors=True)
            run.fetch(name)
            wrong = faults(folder)
        if not wrong:
            return step, folder
        say(f"{name} is not used: {'; '.join(wrong[:3])}")
    return None


def at(run: RunDirectory, step: int) -> Path:
    """The folder of a checkpoint that another process has found whole; fetched where this node does not have it."""
    folder = run.workspace / layout.checkpoint(step)
    if not (folder / MARKER).is_file():
        run.fetch(layout.checkpoint(step))
    return folder


def rotate(run: RunDirectory, *, keep: int, protect: frozenset[int] = frozenset()) -> list[int]:
    """Removes all but the newest ``keep`` checkpoints here (and those of ``protect``); returns the steps removed."""
    gone = [step for step in sorted(_steps_here(run), reverse=True)[keep:] if step not in protect]
    for step in gone:
        folder = run.workspace / layout.checkpoint(step)
        (folder / MARKER).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    return gone


def _steps_here(run: RunDirectory) -> set[int]:
    folder = run.workspace / layout.CHECKPOINTS
    return {int(path.parent.name.removeprefix("step-")) for path in folder.glob(f"step-[0-9]*/{MARKER}")}


def _steps_in_store(run: RunDirectory) -> set[int]:
    matches = (_NAME.fullmatch(info.key) for info in run.store.list(layout.CHECKPOINTS))
    return {int(match[1]) for match in matches if match}


def _seal(folder: Path, step: int) -> None:
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        _sync(path)
        files[path.relative_to(folder).as_posix()] = {"size": path.stat().st_size, "sha256": sha256_of_file(path)}
    marker = folder / MARKER
    marker.write_text(json.dumps({"step": step, "files": files}, indent=2) + "\n", encoding="utf-8")
    _sync(marker)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
