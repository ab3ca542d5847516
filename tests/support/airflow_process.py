"""Airflow for tests: always in a process of its own, with a home of its own, and a stand-in for a cluster."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def airflow_environment(home: Path, store: Path) -> dict[str, str]:
    """The environment of an Airflow that knows the project's DAGs and plugin and nothing else of this machine."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "AIRTUNE_", "AWS_", "KUBECONFIG"))
    }
    return {
        **kept,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of the tests, long enough for the algorithm that signs with it " * 2,
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "PYTHONPATH": str(PROJECT / "plugins"),
        "AIRTUNE_HOME": str(store / "home"),
        "AIRTUNE_STORE": (store / "store").as_uri(),
        "SPT_NOENV": "1",
    }


@pytest.fixture(scope="session")
def migrated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An AIRFLOW_HOME with a migrated database, to copy."""
    home = tmp_path_factory.mktemp("airflow")
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=airflow_environment(home, home),
        check=True,
        capture_output=True,
        timeout=180,
    )
    return home


@dataclass
class AirflowPython:
    """Runs Python programs beside an Airflow of the test's own.

    Attributes:
        env: the environment; change it before a call.
        folder: AIRFLOW_HOME's parent.
    """

    env: dict[str, str]
    folder: Path

    def start(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a program; it leaves its result with ``tell(**values)``."""
        return subprocess.Popen(
            [sys.executable, "-c", _TELL + program, str(self.folder / "result.json"), *arguments],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
        )

    def finish(self, process: subprocess.Popen[str], timeout: float = 120) -> dict[str, Any]:
        """Wait for a program; returns what it told, and its output as ``output``."""
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            raise AssertionError(f"not finished after {timeout} s:\n{output[-6000:]}") from None
        result = self.folder / "result.json"
        assert result.exists(), output[-6000:]
        told: dict[str, Any] = json.loads(result.read_text())
        result.unlink()
        return {**told, "output": output}

    def run(self, program: str, *arguments: str, timeout: float = 120) -> dict[str, Any]:
        """Run a program to its end."""
        return self.finish(self.start(program, *arguments), timeout)

    def start_dag(self, source: str, conf: Mapping[str, Any] | None = None) -> subprocess.Popen[str]:
        """Write a DAG file that defines ``dag``, and run it in a process with ``dag.test()``: tells ``tasks``.

        The tasks of a mapped one have their number behind their name: ``task[0]``.
        """
        dags = self.folder / "dags"
        dags.mkdir(exist_ok=True)
        path = dags / "stand_in.py"
        path.write_text(f"{_TELL}\n{source}\n{_TEST_DAG}")
        return subprocess.Popen(
            [sys.executable, str(path), str(self.folder / "result.json"), json.dumps(conf or {})],
            env={**self.env, "AIRFLOW__CORE__DAGS_FOLDER": str(dags)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
        )


_TEST_DAG = """
if __name__ == "__main__":
    run = dag.test(run_conf=json.loads(sys.argv[2]))
    tell(
        tasks={
            task.task_id + (f"[{task.map_index}]" if task.map_index >= 0 else ""): {
                "state": task.state, "tries": task.try_number
            }
            for task in run.get_task_instances()
        }
    )
"""

_TELL = """
import json, sys
from pathlib import Path
def tell(**values):
    Path(sys.argv[1]).write_text(json.dumps(values, default=str))
"""


def new_airflow(migrated_home: Path, folder: Path) -> AirflowPython:
    """An Airflow with a home in ``folder``."""
    home = folder / "airflow"
    shutil.copytree(migrated_home, home)
    config = home / "airflow.cfg"
    config.write_text(config.read_text().replace(str(migrated_home), str(home)))
    return AirflowPython(airflow_environment(home, folder), folder)


@pytest.fixture
def airflow(migrated_home: Path, tmp_path: Path) -> AirflowPython:
    """An Airflow of the test's own."""
    return new_airflow(migrated_home, tmp_path)


@pytest.fixture(scope="module")
def module_airflow(migrated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> AirflowPython:
    """An Airflow that the tests of one file share."""
    return new_airflow(migrated_home, tmp_path_factory.mktemp("module"))


@dataclass
class Cluster:
    """A running stand-in for a Kubernetes cluster."""

    folder: Path

    @property
    def kubeconfig(self) -> Path:
        """Where it is."""
        return self.folder / "kubeconfig"

    def requests(self, method: str) -> list[str]:
        """The paths that were asked for with this method."""
        log = self.folder / "requests.jsonl"
        rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [row["path"] for row in rows if row["method"] == method]

    def pods(self, task: str = "stage") -> list[Mapping[str, Any]]:
        """Every pod that was made for a task, as it was asked for."""
        made = [json.loads(path.read_text()) for path in sorted(self.folder.glob("airtune-*.json"))]
        return [pod for pod in made if pod["metadata"]["labels"].get("task_id") == task]

    def logs(self, task: str) -> str:
        """What the containers of a task have printed."""
        names = [pod["metadata"]["name"] for pod in self.pods(task)]
        return "".join((self.folder / f"{name}.log").read_text() for name in names)


@contextlib.contextmanager
def running_cluster(airflow: AirflowPython) -> Iterator[Cluster]:
    """A stand-in for a cluster that this Airflow finds."""
    folder = airflow.folder / "cluster"
    folder.mkdir()
    process = subprocess.Popen([sys.executable, str(Path(__file__).parent / "kubernetes_standin.py"), str(folder)])
    made = Cluster(folder)
    try:
        wait_until(made.kubeconfig.exists)
        airflow.env["KUBECONFIG"] = str(made.kubeconfig)
        airflow.env |= {"AIRTUNE_BACKEND": "kubernetes", "AIRTUNE_IMAGE": "registry.example/airtune:1"}
        yield made
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@pytest.fixture
def cluster(airflow: AirflowPython) -> Iterator[Cluster]:
    """A stand-in for a cluster, of the test's own."""
    with running_cluster(airflow) as made:
        yield made


@pytest.fixture(scope="module")
def module_cluster(module_airflow: AirflowPython) -> Iterator[Cluster]:
    """A stand-in for a cluster that the tests of one file share."""
    with running_cluster(module_airflow) as made:
        yield made


def wait_until(what: Callable[[], object], seconds: float = 60) -> None:
    """Wait for something to become true."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
