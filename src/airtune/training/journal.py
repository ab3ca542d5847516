"""What training writes while it runs: one JSON line a step, one an evaluation, each step once."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any


class Journal:
    """A JSON-lines file with one line a step, in order; lines appear whole.

    Args:
        path: the file.
        keep_until: lines of later steps are dropped: the run resumes at that step and does them again.
        keeps: False: only the rows are known here, and another process keeps the file.
    """

    def __init__(self, path: Path, *, keep_until: int, keeps: bool = True) -> None:
        self._path = path
        self._keeps = keeps
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows = [row for row in _rows(path) if row["step"] <= keep_until]
        if not keeps:
            return
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text("".join(_line(row) for row in self.rows), encoding="utf-8")
        temporary.replace(path)

    def write(self, row: dict[str, Any]) -> None:
        """Appends a row; numbers that are not finite become null, as JSON has it."""
        self.rows.append(row)
        if not self._keeps:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(row))

    def has(self, step: int) -> bool:
        """Whether there is a row of this step."""
        return any(row["step"] == step for row in reversed(self.rows))

    @property
    def last(self) -> dict[str, Any] | None:
        """The latest row."""
        return self.rows[-1] if self.rows else None


def _rows(path: Path) -> list[dict[str, Any]]:
    """The whole lines of the file, later ones winning over earlier ones of the same step."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found: dict[int, dict[str, Any]] = {}
    for line in lines:
        try:
            row = json.loads(line)
            found[int(row["step"])] = row
        except (ValueError, KeyError, TypeError):  # cut off in the middle of a line by a kill
            continue
    return [found[step] for step in sorted(found)]


def _line(row: dict[str, Any]) -> str:
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()
    }
    return json.dumps(finite, allow_nan=False, ensure_ascii=False) + "\n"
