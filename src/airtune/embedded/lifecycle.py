"""Starts and stops an embedded airtune: the S3 server, then Airflow; Airflow, then the S3 server."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from airtune.embedded import processes, seaweedfs
from airtune.embedded.airflow import ADMIN, COMPONENTS, DAG_ID, EmbeddedAirflow, project_root
from airtune.embedded.client import AirflowClient
from airtune.embedded.credentials import Secrets
from airtune.embedded.ports import free_port
from airtune.embedded.seaweedfs_setup import remove_sockets
from airtune.embedded.state import State, StateFile
from airtune.embedded.stopping import Say, stop_everything, uninterrupted
from airtune.errors import DefectError, Problem, SettingsError

STORE_URI: Final = f"s3://{seaweedfs.BUCKET}"
"""The bucket of the embedded S3 server, where runs and models lie."""

_START_LIMIT_S: Final = 300.0
_ASK_AGAIN_S: Final = 0.5
_LOG_TAIL: Final = 15


def running(home: Path) -> State | None:
    """What runs under an AIRTUNE_HOME; None unless all of it runs and has answered once."""
    state = StateFile(home).read()
    return state if state is not None and state.ready and not state.dead() else None


def client(home: Path, state: State) -> AirflowClient:
    """A client of the embedded Airflow, as its user ``admin``."""
    return AirflowClient(state.airflow_url, username=ADMIN, password=secrets(home).admin_password)


def use_store(state: State) -> None:
    """Has this process find the store where the embedded airtune keeps it."""
    os.environ.update(state.store)


def secrets(home: Path) -> Secrets:
    """The keys and passwords kept under an AIRTUNE_HOME."""
    return Secrets.load_or_create(home / "secrets.json")


def up(home: Path, say: Say) -> tuple[State, bool]:
    """Starts everything and waits until it answers; finds what runs already.

    Args:
        home: AIRTUNE_HOME.
        say: is told what is being waited for.

    Returns:
        What runs, and whether this call started it.

    Raises:
        SettingsError: there is no checkout with ``dags/``, or the DAG cannot be imported.
        DefectError: a component ended by itself, or did not answer in time. Nothing is left running.
    """
    file = StateFile(home)
    with file.locked():
        found = running(home)
        if found is not None:
            return found, False
        if processes.family((), str(home)):
            say("stopping what an earlier start left behind")
        _stop_everything(home, file, say, grace_s=10)
        try:
            return _start(home, file, say), True
        except BaseException:  # also Ctrl-C: nothing that was started may stay
            with uninterrupted():
                _stop_everything(home, file, say, grace_s=5)
            raise


def down(home: Path, say: Say, *, grace_s: float = 30.0) -> int:
    """Stops everything that was started under an AIRTUNE_HOME, down to orphans of a parent that was killed.

    Args:
        home: AIRTUNE_HOME.
        say: is told what is being waited for.
        grace_s: how long a stage that is at work may take to save it before it is killed.

    Returns:
        How many processes ran.
    """
    file = StateFile(home)
    with file.locked():
        return _stop_everything(home, file, say, grace_s=grace_s)


def _start(home: Path, file: StateFile, say: Say) -> State:
    before = file.read() or State()
    port = free_port(urlsplit(before.airflow_url).port if before.airflow_url else None)
    airflow = EmbeddedAirflow(home, project_root(), port)
    airflow.write_configuration(secrets(home))
    say("starting SeaweedFS, the S3 server")
    mark = {processes.MARKER: str(home)}
    s3 = seaweedfs.start(home / "seaweedfs", env=mark)
    state = State(
        airflow_url=airflow.url, store={"AIRTUNE_STORE": STORE_URI, **s3.environment()}, processes=(s3.process,)
    )
    file.write(state)
    env = airflow.environment(state.store)
    _prepare_database(airflow, env, say)
    say("starting Airflow")
    for name, arguments in COMPONENTS.items():
        log = home / "logs" / f"{name}.log"
        started = processes.start(name, airflow.command(*arguments), env=env, cwd=home, log=log)
        state = state.with_process(started)
        file.write(state)
    _wait_until_ready(home, state, say)
    state = replace(state, ready=True)
    file.write(state)
    return state


def _prepare_database(airflow: EmbeddedAirflow, env: Mapping[str, str], say: Say) -> None:
    """Makes Airflow's tables, or brings those of an older Airflow up to date."""
    done = airflow.airflow_home / "database-version"
    wanted = version("apache-airflow-core")
    if done.exists() and done.read_text(encoding="utf-8") == wanted and (airflow.airflow_home / "airflow.db").exists():
        return
    say("making Airflow's database")
    log = airflow.home / "logs" / "database.log"
    started = processes.start("database", airflow.command("db", "migrate"), env=env, cwd=airflow.home, log=log)
    status = processes.wait(started, _START_LIMIT_S)
    if status != 0:
        raise DefectError(
            Problem("airflow db migrate", f"ended with {status}", fix=f"see {log}, which ends:\n{_tail(log)}")
        )
    done.write_text(wanted, encoding="utf-8")


def _wait_until_ready(home: Path, state: State, say: Say) -> None:
    """Returns once every component says it is healthy and the DAG has been parsed."""
    begun = time.monotonic()
    needed = {"metadatabase", "scheduler", "dag_processor"}
    said: set[str] = set()
    with client(home, state) as airflow:
        while True:
            _refuse_dead(state)
            airflow.warm_up()
            healthy = {name for name, status in airflow.health().items() if status == "healthy"} & needed
            for name in sorted(healthy - said):
                say(f"Airflow: {name.replace('_', ' ')} is healthy after {time.monotonic() - begun:.0f} s")
            said |= healthy
            if healthy == needed:
                if airflow.has_dag(DAG_ID):
                    return
                broken = airflow.import_errors()
                if broken:
                    raise SettingsError(Problem("dags/", "a DAG cannot be imported", value="\n".join(broken)))
            waited = time.monotonic() - begun
            if waited > _START_LIMIT_S:
                missing = ", ".join(sorted(needed - healthy)) or f"the DAG {DAG_ID}"
                raise DefectError(
                    Problem(
                        state.airflow_url,
                        f"Airflow is not ready after {waited:.0f} s: {missing} is missing",
                        fix=f"see the logs in {home / 'logs'}",
                    )
                )
            time.sleep(_ASK_AGAIN_S)


def _refuse_dead(state: State) -> None:
    for started in state.dead():
        log = Path(started.log)
        raise DefectError(Problem(started.name, "ended by itself", fix=f"see {log}, which ends:\n{_tail(log)}"))


def _tail(log: Path) -> str:
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL:])
    except OSError:
        return "(no log)"


def _stop_everything(home: Path, file: StateFile, say: Say, *, grace_s: float) -> int:
    state = file.read() or State()
    count = stop_everything(state.processes, str(home), say, grace_s=grace_s)
    remove_sockets(home / "seaweedfs")
    if state.processes or count:
        file.write(replace(state, ready=False, processes=()))  # the addresses are used again if they are free
    return count
