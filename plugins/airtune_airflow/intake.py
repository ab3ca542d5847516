"""From what a DAG run was given to a run directory, and to the tasks that look at a large dataset's images."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from airtune.environment import Environment
from airtune.errors import Problem, SettingsError
from airtune_airflow.settings import Settings
from airtune_airflow.trigger_form import OVERRIDES, RUN, names

_LONGEST_RUN_ID = 128


def begin(params: Mapping[str, Any], conf: Mapping[str, Any], dag_run_id: str) -> str:
    """Check what was asked for, whole, and make the run directory.

    Args:
        params: the DAG run's params.
        conf: what the DAG run was triggered with; names that are no param are refused.
        dag_run_id: Airflow's name of the DAG run, from which the run's name is made.

    Returns:
        The run URI. The same call again returns the same.

    Raises:
        SettingsError: anything in it cannot be used; every problem is named.
        NotPermittedError: the dataset or the base model lies where nothing may be read from.
        StoreError: a store does not answer.
    """
    from airtune.resolution.intake import load_run

    run = params[RUN]
    return load_run(run, overrides(params, conf), run_id(dag_run_id), Environment.read().store).uri


def parts(run_uri: str) -> list[str]:
    """The parts in which a run's images are looked at, for example ``["1/2", "2/2"]``; none for a small dataset.

    Raises:
        AirtuneError: as :func:`airtune.datasets.parts.plan`.
    """
    from airtune.datasets.parts import plan
    from airtune.stores.run_directory import RunDirectory

    return plan(RunDirectory.open(run_uri), Settings.read().images_per_task)


def overrides(params: Mapping[str, Any], conf: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides of a DAG run: its flat params that are not empty, and those in ``overrides``.

    Raises:
        SettingsError: ``conf`` has names that are no param, or one setting was given twice with different values.
    """
    from airtune.runspec.faults import nearest

    known = names()  # not those of `params`: Airflow adds whatever stands in `conf`
    problems = [_unknown(name, nearest(name, known)) for name in conf if name not in known]
    flat = {name: params[name] for name in known if name not in (RUN, OVERRIDES) and params.get(name) is not None}
    given = dict(params.get(OVERRIDES) or {})
    plain = {_plain(name): name for name in given}
    for name, value in flat.items():
        twice = plain.get(_plain(name))
        if twice is None:
            given[name] = value
        elif given[twice] != value:
            text = f"{value!r} as a field of its own, {given[twice]!r} in overrides"
            problems.append(Problem(f"conf.{name}", "is given twice, differently", value=text, fix="keep one of them"))
    if problems:
        raise SettingsError(problems)
    return given


def run_id(dag_run_id: str) -> str:
    """The run's name: the DAG run's, with what no folder's name may have replaced.

    Two DAG runs never share one: a name that had to be changed ends in a digest of the original.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", dag_run_id).lstrip("._-")
    if plain == dag_run_id and len(plain) <= _LONGEST_RUN_ID and ".." not in plain:
        return plain
    digest = hashlib.sha256(dag_run_id.encode()).hexdigest()[:8]
    readable = re.sub(r"-?00-00$", "", plain.replace("..", "-"))  # the offset of UTC says nothing
    return f"{readable[: _LONGEST_RUN_ID - 9].rstrip('._-') or 'run'}-{digest}"


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _unknown(name: str, close: str | None) -> Problem:
    fix = f"did you mean {close!r}?" if close else f"settings go into {OVERRIDES!r}, or have a field of their own"
    return Problem(f"conf.{name[:80]}", "is nothing that this DAG knows", fix=fix)
