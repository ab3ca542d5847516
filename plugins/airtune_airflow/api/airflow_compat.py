"""Airflow's authentication, as the pages use it: internal API, and so kept in this one module.

A FastAPI app that a plugin mounts gets no authentication from Airflow. The dependencies are made at module level:
made inside a function, FastAPI takes them for query parameters.
"""

from __future__ import annotations

from typing import Final

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag, requires_authenticated
from fastapi import Depends

DAG_ID: Final = "vlm_finetune"

AUTHENTICATED: Final = Depends(requires_authenticated())
"""401 for whoever is not logged in."""

MAY_READ_RUNS: Final = Depends(requires_access_dag("GET", DagAccessEntity.RUN, DAG_ID))
"""403 for whoever may not read the DAG's runs."""
