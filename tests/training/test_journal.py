from __future__ import annotations

import json
from pathlib import Path

from airtune.training.journal import Journal


def test_a_resumed_journal_has_each_step_once(tmp_path: Path) -> None:
    path = tmp_path / "training" / "metrics.jsonl"
    first = Journal(path, keep_until=0)
    for step in range(1, 6):
        first.write({"step": step, "loss": 1.0 / step})
    second = Journal(path, keep_until=3)
    for step in range(4, 7):
        second.write({"step": step, "loss": 2.0})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[3]["loss"] == 2.0
    assert second.last == {"step": 6, "loss": 2.0}
    assert second.has(2)
    assert not second.has(7)


def test_a_line_that_a_kill_cut_in_half_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "lo')
    assert Journal(path, keep_until=5).rows == [{"step": 1, "loss": 3.0}]
    assert path.read_text() == '{"step": 1, "loss": 3.0}\n'


def test_a_number_that_is_not_finite_becomes_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    Journal(path, keep_until=0).write({"step": 1, "grad_norm": float("inf"), "loss": float("nan")})
    assert json.loads(path.read_text()) == {"step": 1, "grad_norm": None, "loss": None}
