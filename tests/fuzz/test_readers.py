"""Every reader is fuzzed for a minute (nightly); what breaks it is left behind as a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from airtune.datasets.readers.formats import READERS

TARGET = Path(__file__).parent / "target.py"
SECONDS = 60


@pytest.mark.nightly
@pytest.mark.parametrize("name", READERS)
def test_a_minute_of_fuzzing_finds_no_traceback_and_nothing_that_hangs(name: str, tmp_path: Path) -> None:
    work = tmp_path / name
    options = [f"-max_total_time={SECONDS}", "-timeout=10", "-rss_limit_mb=2048", "-verbosity=0"]
    ended = subprocess.run(
        [sys.executable, TARGET, name, work, *options], capture_output=True, text=True, timeout=SECONDS * 4, check=False
    )
    left = [path for kind in ("crash", "timeout", "oom", "leak") for path in work.glob(f"{kind}-*")]
    assert ended.returncode == 0, f"{ended.stderr[-4000:]}\nleft behind: {left}"
    assert left == []
