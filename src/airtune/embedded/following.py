"""Watches a DAG run to its end: its tasks from Airflow, its training from the run directory."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from airtune.embedded.client import AirflowClient, DagRunState, TaskState
from airtune.errors import AirtuneError, ExitCode, Problem
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory
from airtune.stores.stage_record import read_stage_record

LOAD_RUN: Final = "load_run"

AHEAD: Final = ("plan_inspection", "inspect_images")
"""The tasks between it and the stages, which look at a large dataset's images; the second is mapped."""

STAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "validate_dataset": "validate",
        "resolve_config": "resolve",
        "finetune": "train",
        "evaluate": "evaluate",
        "gate": "gate",
        "publish": "publish",
    }
)
"""The DAG's tasks that run a stage, in their order, and the stage."""

TASKS: Final = (LOAD_RUN, *AHEAD, *STAGES)

ERROR_LINE: Final = "airtune-error: "
"""Begins a line of a task's log that goes on with an :class:`AirtuneError` as JSON."""

_TAIL_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class Training:
    """Where training stands: the last line of its metrics.

    Attributes:
        step: optimizer steps done.
        total_steps: of so many.
        epoch: passes over the training set, a fraction.
        loss: of that step.
        eta_s: seconds still to go, as the trainer estimates them; None when it does not know yet.
    """

    step: int
    total_steps: int
    epoch: float
    loss: float
    eta_s: float | None

    def __str__(self) -> str:
        eta = "" if self.eta_s is None else f", {_duration(self.eta_s)} to go"
        return f"step {self.step}/{self.total_steps}, epoch {self.epoch:.2f}, loss {self.loss:.4f}{eta}"


@dataclass(frozen=True)
class View:
    """A run as it stands.

    Attributes:
        dag_run: what Airflow says.
        run: its run directory; None until ``load_run`` has made it.
        training: where training stands; None before its first step.
    """

    dag_run: DagRunState
    run: RunDirectory | None
    training: Training | None


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes:
        dag_run: what Airflow says.
        run: its run directory; None where it was never made.
        exit_code: 0, or that of the stage that failed.
        problems: what that stage says is wrong, as JSON; empty after a success.
    """

    dag_run: DagRunState
    run: RunDirectory | None
    exit_code: int
    problems: tuple[Mapping[str, Any], ...] = field(default=())


def follow(airflow: AirflowClient, dag_id: str, run_id: str, *, every_s: float = 1.5) -> Iterator[View]:
    """Yields the run as it stands, again and again, the last time when it has ended.

    Args:
        airflow: where it runs.
        dag_id: the DAG.
        run_id: the DAG run.
        every_s: seconds between two looks.
    """
    run: RunDirectory | None = None
    version = ""
    training: Training | None = None
    while True:
        state = airflow.dag_run(dag_id, run_id)
        if run is None:
            run = run_directory(airflow, dag_id, state)
        if run is not None and _runs(state, "finetune"):
            version, training = newest_metrics(run, version, training)
        yield View(state, run, training)
        if state.ended:
            return
        time.sleep(every_s)


def run_directory(airflow: AirflowClient, dag_id: str, state: DagRunState) -> RunDirectory | None:
    """The run directory that the DAG run has made; None when it has not, or the store cannot be read from here."""
    if not any(task.name == LOAD_RUN and task.state == "success" for task in state.tasks):
        return None
    uri = airflow.xcom(dag_id, state.run_id, LOAD_RUN)
    if not isinstance(uri, str):
        return None
    try:
        return RunDirectory.open(uri)
    except AirtuneError:
        return None


def ending(airflow: AirflowClient, dag_id: str, state: DagRunState) -> Ending:
    """How a DAG run that has ended came out, and why."""
    run = run_directory(airflow, dag_id, state)
    if state.state == "success":
        return Ending(state, run, int(ExitCode.DONE))
    task = next((each for each in state.tasks if each.state == "failed"), None)
    if task is None:  # stopped from outside
        problem = Problem(f"DAG run {state.run_id}", f"ended as {state.state!r}, and no task of it failed")
        return Ending(state, run, int(ExitCode.DEFECT), (problem.to_json(),))
    record = _record(run, _stage(state, task))
    if record is not None and record.get("exit_code"):
        return Ending(state, run, int(record["exit_code"]), _problems(task.name, record))
    lines = airflow.task_log(dag_id, state.run_id, task.name, tries=max(task.tries, 1), map_index=task.map_index)
    code, problems = _from_log(lines)
    return Ending(state, run, code, tuple(problems) or (_log_tail(task.name, lines),))


def _runs(state: DagRunState, name: str) -> bool:
    return any(task.name == name and task.state == "running" for task in state.tasks)


def newest_metrics(run: RunDirectory, version: str, before: Training | None) -> tuple[str, Training | None]:
    """Where training stands, read from the end of its metrics.

    Args:
        run: the run.
        version: of the metrics file when it was last read.
        before: what was found then.

    Returns:
        The file's version now, and where training stands; ``before`` where nothing is new or can be read.
    """
    try:
        info = run.store.stat(layout.TRAINING_METRICS)
        if info is None or info.version == version:
            return version, before
        start = max(0, info.size - _TAIL_BYTES)
        lines = run.store.read_part(layout.TRAINING_METRICS, start, _TAIL_BYTES).decode("utf-8", "replace").splitlines()
    except AirtuneError:  # it is only progress: the run itself goes on, or says why not
        return version, before
    for line in reversed(lines):
        try:
            found = json.loads(line)
            return info.version, Training(
                int(found["step"]),
                int(found["total_steps"]),
                float(found["epoch"]),
                float(found["loss"]),
                None if found.get("eta_seconds") is None else float(found["eta_seconds"]),
            )
        except (ValueError, KeyError, TypeError):  # the first line is cut, the last one may be half written
            continue
    return info.version, before


def _stage(state: DagRunState, task: TaskState) -> str:
    """The name under which a task's stage keeps its record."""
    if task.name != AHEAD[-1]:
        return STAGES.get(task.name, task.name)
    return f"inspect-{task.map_index + 1}-of-{sum(each.name == task.name for each in state.tasks)}"


def _record(run: RunDirectory | None, stage: str) -> dict[str, Any] | None:
    try:
        return read_stage_record(run, stage) if run is not None else None
    except AirtuneError:
        return None


def _problems(task: str, record: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    found = record.get("problems") or [Problem(task, str(record.get("message") or "failed without a word")).to_json()]
    return tuple(found)


def _from_log(lines: list[str]) -> tuple[int, list[Mapping[str, Any]]]:
    """What a task that failed without a stage record has said: an error of airtune's own, as JSON."""
    for line in reversed(lines):
        _, mark, text = line.partition(ERROR_LINE)
        if not mark:
            continue
        try:
            error = json.loads(text)
            return int(error["exit_code"]), list(error["problems"])
        except (ValueError, KeyError, TypeError):
            continue
    return int(ExitCode.DEFECT), []


def _log_tail(task: str, lines: list[str]) -> Mapping[str, Any]:
    said = "\n".join(line for line in lines if line.strip())[-2000:]
    return Problem(task, "failed; its log ends with", value=said or "nothing").to_json()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
