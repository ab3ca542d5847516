"""What a finished run leaves goes to the store, the result last. A store that is away then costs no training."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from airtune.stores import layout
from airtune.stores.base import PRIVATE_PREFIX
from airtune.stores.run_directory import RunDirectory

_COMPLETE: Final = "complete"
_UNSENT: Final = f"{PRIVATE_PREFIX}result.json"
"""The result in the workspace, until the store has everything."""


def finished(directory: RunDirectory) -> dict[str, Any] | None:
    """The result of an earlier try that ended well, when what it left is still there."""
    if not directory.exists(layout.TRAINING_RESULT):
        return None
    result: dict[str, Any] = directory.read_json(layout.TRAINING_RESULT)
    there = any(True for _ in directory.store.list(str(result.get("saved", layout.MODEL_ADAPTER))))
    return result if result.get("state") == _COMPLETE and there else None


def unsent(directory: RunDirectory) -> dict[str, Any] | None:
    """The result of an earlier try on this machine that trained to the end and could not copy what it has saved."""
    try:
        result: dict[str, Any] = json.loads(_note(directory).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if (directory.workspace / str(result.get("saved"))).is_dir() else None


def hand_over(directory: RunDirectory, result: dict[str, Any]) -> dict[str, Any]:
    """Copies what was saved to the store and writes ``training/result.json``: with it the run is done.

    Args:
        directory: the run directory.
        result: with ``saved``, the folder that holds the weights.

    Returns:
        The content of ``training/result.json``.

    Raises:
        StoreError: the store is away; the next try on this machine goes on here.
    """
    whole = {"state": _COMPLETE, **result}
    note = _note(directory)
    temporary = note.with_name(f"{note.name}-{os.getpid()}")
    temporary.write_text(json.dumps(whole), encoding="utf-8")
    temporary.replace(note)
    directory.push(str(whole["saved"]), layout.TRAINING)  # the log as well: from here on it does not change
    directory.write_json(layout.TRAINING_RESULT, whole)
    note.unlink()
    return whole


def _note(directory: RunDirectory) -> Path:
    folder = directory.workspace / layout.TRAINING
    folder.mkdir(parents=True, exist_ok=True)
    return folder / _UNSENT
