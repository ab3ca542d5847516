"""Registers airtune in Airflow: the pages of its runs, and the link from a task to its run directory.

Every component of Airflow and every task process imports this module, so it imports next to nothing: the pages come
with ``fastapi_apps``, which only the API server asks for.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airtune_airflow.links import MOUNT, RunDirectoryLink, airflow_path


class AirtunePlugin(AirflowPlugin):
    """airtune's part of Airflow's UI."""

    name = "airtune"
    operator_extra_links = [RunDirectoryLink()]  # noqa: RUF012  what the base class declares

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The pages, mounted at ``/airtune``."""
        from airtune_airflow.api.app import make_app

        return [{"name": "airtune", "url_prefix": MOUNT, "app": make_app()}]

    @cached_property
    def external_views(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """One entry in Airflow's navigation: the list of runs."""
        return [
            {
                "name": "airtune runs",
                "href": f"{airflow_path()}{MOUNT}/runs",
                "destination": "nav",
                "category": "browse",
                "url_route": "airtune-runs",
            }
        ]
