"""A machine on which airtune is used by its commands, as a user does it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from airtune.embedded import lifecycle
from airtune.embedded.client import AirflowClient
from airtune.embedded.processes import MARKER
from airtune.embedded.state import State

PROJECT = Path(__file__).resolve().parents[2]
TINY = PROJECT / "include" / "configs" / "demo" / "tiny-vlm"
AIRTUNE = Path(sys.executable).parent / "airtune"

_FOREIGN = ("AIRTUNE_", "AIRFLOW", "AWS_")


@dataclass(frozen=True)
class Machine:
    """A machine on which airtune is used: an AIRTUNE_HOME, and the commands.

    Attributes:
        home: AIRTUNE_HOME.
    """

    home: Path

    @property
    def env(self) -> dict[str, str]:
        """What a newcomer's terminal has, and where airtune keeps its state."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        return {**kept, "AIRTUNE_HOME": str(self.home), "COLUMNS": "200", "NO_COLOR": "1"}

    def airtune(self, *arguments: str, timeout: float = 300, **env: str) -> subprocess.CompletedProcess[str]:
        """Runs one command to its end."""
        return subprocess.run(
            [AIRTUNE, *arguments],
            env={**self.env, **env},
            cwd=self.home.parent,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def state(self) -> State:
        """What runs."""
        state = lifecycle.running(self.home)
        assert state is not None, "airtune is not up"
        return state

    def client(self) -> AirflowClient:
        """A client of its Airflow."""
        return lifecycle.client(self.home, self.state())

    def left(self) -> list[str]:
        """The processes that still run."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARKER) == str(self.home) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"{process.pid} {process.cmdline()}")
            except psutil.Error:
                continue
        return found
