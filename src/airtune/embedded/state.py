"""What runs now, written down: the file by which one command finds what another has started."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from airtune.embedded.credentials import write_private
from airtune.embedded.processes import Started
from airtune.errors import Problem, StoreError


@dataclass(frozen=True)
class State:
    """An embedded airtune that was started.

    Attributes:
        airflow_url: address of Airflow's UI and API.
        store: the variables by which a process finds the store: ``AIRTUNE_STORE`` and ``AWS_*``.
        ready: whether everything answered; False while it starts, and after a start that broke off.
        processes: what was started, in order.
    """

    airflow_url: str = ""
    store: Mapping[str, str] = field(default_factory=dict, repr=False)
    ready: bool = False
    processes: tuple[Started, ...] = ()

    def with_process(self, started: Started) -> State:
        """The same with one more process."""
        return replace(self, processes=(*self.processes, started))

    def dead(self) -> list[Started]:
        """The processes that were started and run no more."""
        return [started for started in self.processes if started.process() is None]

    def to_json(self) -> dict[str, Any]:
        """The state as JSON."""
        return {
            "airflow_url": self.airflow_url,
            "store": dict(self.store),
            "ready": self.ready,
            "processes": [started.to_json() for started in self.processes],
        }


class StateFile:
    """The state file of one AIRTUNE_HOME, and the lock beside it.

    Args:
        home: AIRTUNE_HOME.
    """

    def __init__(self, home: Path) -> None:
        self.path = home / "state.json"
        self._lock = home / "state.lock"

    def read(self) -> State | None:
        """The state; None where nothing was started, or the file cannot be read."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            processes = tuple(Started.from_json(each) for each in found.pop("processes"))
            return State(processes=processes, **found)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def write(self, state: State) -> None:
        """Writes the state: readable by its owner alone, since it holds the S3 server's secret key."""
        write_private(self.path, json.dumps(state.to_json(), indent=2) + "\n")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second ``airtune up`` or ``down`` on the same home waiting.

        Raises:
            StoreError: the folder cannot be written.
        """
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            file = self._lock.open("w")
        except OSError as error:
            raise StoreError(
                Problem(
                    "AIRTUNE_HOME",
                    f"cannot be written ({error.strerror})",
                    value=str(self._lock.parent),
                    fix="set AIRTUNE_HOME to a folder of your own",
                )
            ) from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
