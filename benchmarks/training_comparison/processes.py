"""A module of the benchmarks, run in a process of its own: no side finds what another has left in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_BENCHMARKS: Final = Path(__file__).resolve().parents[1]


def run_module(module: str, *arguments: object, surroundings: Mapping[str, str] | None = None) -> None:
    """Runs ``python -m module``; what it prints is shown only where it fails, and ends this program then.

    Args:
        module: below ``benchmarks/``.
        arguments: each becomes a text.
        surroundings: further environment variables.
    """
    paths = [str(_BENCHMARKS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **(surroundings or {}),
    }
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(f"{module} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
