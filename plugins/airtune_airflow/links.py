"""The link from a stage's task to the run it works on, and where airtune's pages are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from airflow.sdk.bases.operatorlink import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

MOUNT: Final = "/airtune"
"""Where the plugin's pages are mounted below Airflow's address."""


class RunDirectoryLink(BaseOperatorLink):
    """A button on the task that opens the page of its run directory."""

    @property
    def name(self) -> str:
        """The button's text."""
        return "Run directory"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The address of the run's page; empty while the run's URI is not known."""
        del ti_key
        uri = getattr(operator, "run_uri", None)
        return page_of(uri) if isinstance(uri, str) else ""


def page_of(run_uri: str) -> str:
    """The address of the page of a run, absolute where Airflow knows its own address."""
    run_id = run_uri.rstrip("/").rpartition("/")[2]
    return f"{_base_url()}{MOUNT}/runs/{quote(run_id, safe='')}"


def airflow_path() -> str:
    """The path below which Airflow is served: empty, or for example ``/airflow`` behind a proxy."""
    return urlsplit(_base_url()).path


def _base_url() -> str:
    from airflow.sdk.configuration import conf

    return str(conf.get("api", "base_url", fallback="") or "").rstrip("/")
