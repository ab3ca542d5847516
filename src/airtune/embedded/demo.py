"""The figures of a demo: what it took and what came out, read from Airflow and from the run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from airtune.configs import config_file, configs_root
from airtune.embedded.following import STAGES, TASKS, Ending
from airtune.embedded.submission import BASE_MODEL, DATASET
from airtune.runspec.document import RunDocument
from airtune.runspec.tasks import Task
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory
from airtune.stores.stage_record import read_stage_record

_DATASETS: Final = {Task.PHRASE_GROUNDING: "demo://grounding"}
_OTHER_DATASET: Final = "demo://shapes"


def default_run() -> Path:
    """The run.json of the demo."""
    return config_file("runs", "demo.json")


def tiny_model() -> Path:
    """The tiny base model that ships with airtune."""
    return configs_root() / "demo" / "tiny-vlm"


def defaults(document: RunDocument) -> list[str]:
    """What a run.json without a dataset or a base model needs to be tried here, as ``name=value``."""
    made = []
    if document.spec.dataset.source is None:
        made.append(f"{DATASET}={_DATASETS.get(document.spec.task, _OTHER_DATASET)}")
    if document.spec.model.base_model is None:
        made.append(f"{BASE_MODEL}={tiny_model()}")
    return made


def figures(end: Ending, seconds: float) -> dict[str, Any]:
    """The content of ``demo/summary.json``.

    Args:
        end: of the run.
        seconds: wall time since the command was given.

    Returns:
        ``dag_run_id``, ``state``, ``tasks`` (name -> ``state``, ``seconds``), ``evaluation`` (``base`` and ``tuned``,
        each the metric of the run's task, decoded greedily; ``samples``), ``artifacts`` (``run_uri``, ``files``,
        ``bytes``), ``reload`` (``agreement``), ``seconds`` and ``airflow_seconds``: how much longer the DAG run took
        than the processes of its stages. Parts that a failed run has not reached are None.
    """
    run = end.run
    return {
        "dag_run_id": end.dag_run.run_id,
        "state": end.dag_run.state,
        "tasks": {
            str(task): {"state": task.state, "seconds": None if task.seconds is None else round(task.seconds, 2)}
            for task in sorted(end.dag_run.tasks, key=lambda task: _place(task.name))
        },
        "evaluation": None if run is None else _evaluation(run),
        "artifacts": None if run is None else _artifacts(run),
        "reload": None if run is None else _reload(run),
        "seconds": round(seconds, 1),
        "airflow_seconds": None if run is None else _airflow_seconds(end, run),
    }


def copy_report(run: RunDirectory, to: Path) -> Path | None:
    """A local copy of the evaluation's report; None where there is none."""
    if not run.exists(layout.EVALUATION_REPORT):
        return None
    to.parent.mkdir(parents=True, exist_ok=True)
    run.store.download_file(layout.EVALUATION_REPORT, to)
    return to


def _place(task: str) -> int:
    return TASKS.index(task) if task in TASKS else len(TASKS)


def _evaluation(run: RunDirectory) -> dict[str, Any] | None:
    if not run.exists(layout.METRICS):
        return None
    found = run.read_json(layout.METRICS)
    metric = found["primary"]
    return {
        **{model: {metric: found[model]["greedy"][metric]} for model in ("base", "tuned")},
        "samples": found["samples"],
    }


def _artifacts(run: RunDirectory) -> dict[str, Any] | None:
    if not run.exists(layout.MANIFEST):
        return None
    files = run.read_json(layout.MANIFEST)["files"]
    return {"run_uri": run.uri, "files": len(files), "bytes": sum(file["size"] for file in files)}


def _reload(run: RunDirectory) -> dict[str, Any] | None:
    return {"agreement": run.read_json(layout.RELOAD)["agreement"]} if run.exists(layout.RELOAD) else None


def _airflow_seconds(end: Ending, run: RunDirectory) -> float | None:
    if end.dag_run.seconds is None:
        return None
    records = [read_stage_record(run, stage) for stage in STAGES.values()]
    return round(end.dag_run.seconds - sum((record or {}).get("process_seconds") or 0 for record in records), 1)
