"""Airflow 3.3 on one machine: its configuration, its components' commands and their environment.

The components are those that ``airflow standalone`` starts, with SQLite and the LocalExecutor as there.
They are started one by one because ``standalone`` cannot be told to leave its two log servers out, which
listen on every interface, and because it stops its children on SIGINT only.
"""

from __future__ import annotations

import configparser
import io
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from airtune.embedded.credentials import Secrets, write_private
from airtune.embedded.ports import LOOPBACK
from airtune.embedded.processes import MARKER
from airtune.errors import Problem, SettingsError

DAG_ID: Final = "vlm_finetune"
"""The DAG that the commands of airtune trigger."""

ADMIN: Final = "admin"
"""The one user of the embedded Airflow."""

COMPONENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
}
"""Airflow's long-running parts, and the arguments after ``airflow`` that start them."""

_FOREIGN: Final = ("AIRFLOW_", "AWS_", "AIRTUNE_")
_STRANGE_TO_CHILDREN: Final = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "CONDA_PREFIX")
_PASSED_ON: Final = (
    "AIRTUNE_CONFIGS",
    "AIRTUNE_ALLOWED_SOURCES",
    "AIRTUNE_ALLOW_REMOTE_CODE",
    "AIRTUNE_FEATURE_CACHE_GB",
    "AIRTUNE_GPU_MEMORY_GB",
    "AIRTUNE_GPUS",
    "AIRTUNE_GRACE_SECONDS",
    "AIRTUNE_IMAGE_CACHE_GB",
    "AIRTUNE_MAX_ACTIVE_RUNS",
    "AIRTUNE_STAGE_TIMEOUT_HOURS",
    "AIRTUNE_STORE_PATIENCE",
    "AIRTUNE_TRAIN_TIMEOUT_HOURS",
)


@dataclass(frozen=True)
class EmbeddedAirflow:
    """One Airflow under one AIRTUNE_HOME.

    Attributes:
        home: AIRTUNE_HOME; Airflow's own home is the folder ``airflow`` in it.
        project: the checkout that holds ``dags/`` and ``plugins/``.
        port: where the API server listens, on 127.0.0.1 only.
    """

    home: Path
    project: Path
    port: int

    @property
    def airflow_home(self) -> Path:
        """AIRFLOW_HOME: configuration, database and task logs."""
        return self.home / "airflow"

    @property
    def url(self) -> str:
        """Address of the UI and the API."""
        return f"http://{LOOPBACK}:{self.port}"

    def write_configuration(self, secrets: Secrets) -> None:
        """Writes ``airflow.cfg`` and the password file, both readable by their owner alone."""
        passwords = self.airflow_home / "passwords.json"
        write_private(passwords, json.dumps({ADMIN: secrets.admin_password}) + "\n")
        parser = configparser.ConfigParser(interpolation=None)
        for section, options in self._options(secrets, passwords).items():
            parser[section] = {name: value.replace("%", "%%") for name, value in options.items()}
        text = io.StringIO()
        text.write("# Written by `airtune up` at every start: changes made here are lost.\n")
        parser.write(text)
        write_private(self.airflow_home / "airflow.cfg", text.getvalue())

    def _options(self, secrets: Secrets, passwords: Path) -> dict[str, dict[str, str]]:
        """Airflow's settings that differ from its defaults, and why."""
        return {
            "core": {
                "dags_folder": str(self.project / "dags"),
                "plugins_folder": str(self.project / "plugins"),
                "load_examples": "False",
                "executor": "LocalExecutor",
                "parallelism": "3",  # worker processes are forked at the start, whether used or not
                "dags_are_paused_at_creation": "False",
                "fernet_key": secrets.fernet_key,
                "simple_auth_manager_users": f"{ADMIN}:admin",
                "simple_auth_manager_passwords_file": str(passwords),
                "execution_api_server_url": f"{self.url}/execution/",
                "hostname_callable": "socket.gethostname",  # the default asks the name server
            },
            "database": {"sql_alchemy_conn": f"sqlite:///{self.airflow_home / 'airflow.db'}"},
            "api": {
                "host": LOOPBACK,
                "port": str(self.port),
                "base_url": self.url,
                "workers": "1",
                "secret_key": secrets.api_secret,
                "instance_name": "airtune",
            },
            "api_auth": {"jwt_secret": secrets.jwt_secret},
            # At the default of 5 s a task can fail before it starts when all cores are busy.
            "workers": {"execution_api_timeout": "30"},
            "scheduler": {
                # How soon the end of a task is noticed and the next one started.
                "scheduler_idle_sleep_time": "0.3",
                "scheduler_heartbeat_sec": "2",
                # A task that was killed with the machine is tried again after two minutes, not five.
                "task_instance_heartbeat_timeout": "120",
            },
            "dag_processor": {
                # Files that change are parsed at once; the same files again need not be every 30 s.
                "min_file_process_interval": "300",
                "refresh_interval": "30",
                "parsing_processes": "1",
            },
            "logging": {
                "base_log_folder": str(self.airflow_home / "logs"),
                "dag_processor_child_process_log_directory": str(self.airflow_home / "logs" / "dag_processor"),
                "colored_console_log": "False",
            },
        }

    def environment(self, store: Mapping[str, str]) -> dict[str, str]:
        """The environment of Airflow's components, and through them of every stage.

        Settings of another Airflow, another Python or another S3 account that the caller happens to have
        are left out.

        Args:
            store: AIRTUNE_STORE and the AWS_* variables of the embedded S3 server.
        """
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_FOREIGN) and name not in _STRANGE_TO_CHILDREN
        }
        kept |= {name: os.environ[name] for name in _PASSED_ON if os.environ.get(name)}
        programs = str(Path(sys.executable).parent)
        return kept | {
            "PATH": os.pathsep.join([programs, *kept.get("PATH", os.defpath).split(os.pathsep)]),
            "NO_PROXY": ",".join(filter(None, [kept.get("NO_PROXY"), LOOPBACK, "localhost"])),
            "no_proxy": ",".join(filter(None, [kept.get("no_proxy"), LOOPBACK, "localhost"])),
            "AIRFLOW_HOME": str(self.airflow_home),
            "AIRTUNE_HOME": str(self.home),
            "AIRTUNE_BACKEND": "local",
            "GX_ANALYTICS_ENABLED": "false",
            "PYTHONUNBUFFERED": "1",
            "SPT_NOENV": "1",  # setproctitle overwrites the environment that the mark is read from
            MARKER: str(self.home),
            **store,
        }

    @staticmethod
    def command(*arguments: str) -> list[str]:
        """The argv that runs Airflow's command line with this very Python."""
        return [sys.executable, "-m", "airflow", *arguments]


def project_root() -> Path:
    """The checkout that holds ``dags/`` and ``plugins/``.

    Raises:
        SettingsError: airtune was installed without one.
    """
    root = Path(__file__).resolve().parents[3]
    if not (root / "dags" / f"{DAG_ID}.py").is_file():
        raise SettingsError(
            Problem(
                str(root / "dags"),
                f"the DAG {DAG_ID} is not there",
                fix="run airtune from a checkout of the project, installed with `make demo` or `pip install -e .`",
            )
        )
    return root
