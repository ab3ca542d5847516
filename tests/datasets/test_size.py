"""A dataset of many rows takes no more memory than there is, and every row of it is accounted for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["chat-jsonl", "vi"])
def test_a_million_rows_are_checked_in_less_than_a_gigabyte_and_a_half(name: str, tmp_path: Path) -> None:
    arguments = ["--rows", "1000000", "--formats", name, "--json", str(tmp_path / "found.json")]
    subprocess.run(
        [sys.executable, PROJECT / "benchmarks/data_check.py", *arguments],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=True,
    )
    [line] = json.loads((tmp_path / "found.json").read_text())["lines"]
    assert line["samples"] + line["set_aside"] == 1_000_000
    assert line["peak_mb"] < 1500
