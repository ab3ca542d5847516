"""``airtune demo``: the main job on this machine, from nothing to a published model and back to nothing running."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from airtune.cli import progress
from airtune.cli.checking import Assignments
from airtune.cli.platform import show_addresses
from airtune.cli.runs import new_run_id, tell_ending
from airtune.cli.surroundings import find_home
from airtune.cli.words import ERR, OUT, say
from airtune.embedded import demo as demonstration
from airtune.embedded import lifecycle
from airtune.embedded.airflow import DAG_ID
from airtune.embedded.client import AirflowClient
from airtune.embedded.following import Ending, ending, follow
from airtune.embedded.stopping import uninterrupted
from airtune.embedded.submission import Submission, prepare
from airtune.errors import AirtuneError


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(rich_help_panel="On this machine")(demo)


def demo(
    run: Annotated[
        Path | None, typer.Option("--run", metavar="RUN.json", help="Another run than include/configs/runs/demo.json.")
    ] = None,
    assignments: Assignments = None,
) -> None:
    """Starts everything, fine-tunes a tiny model, publishes it, loads it back, and stops everything."""
    begun = time.monotonic()
    home = find_home()
    submission = _prepared(run or demonstration.default_run(), assignments or [], home)
    folder = home / "demo"
    (folder / "summary.json").unlink(missing_ok=True)  # so that an old one is never taken for this run's
    started = False
    try:
        state, started = lifecycle.up(home, say)
        show_addresses(state)
        lifecycle.use_store(state)
        with lifecycle.client(home, state) as airflow, _only_run(airflow, folder) as begin:
            dag_run_id = begin(submission)
            ERR.print(f"run [bold]{escape(dag_run_id)}[/]: {escape(airflow.url)}/dags/{DAG_ID}/runs/{dag_run_id}")
            view = progress.show(follow(airflow, DAG_ID, dag_run_id), ERR)
            end = ending(airflow, DAG_ID, view.dag_run)
        summary = demonstration.figures(end, time.monotonic() - begun)
        _tell(end, summary, folder)
    finally:
        if started:
            with uninterrupted():
                say("stopping everything that was started")
                lifecycle.down(home, say, grace_s=10)
    raise typer.Exit(end.exit_code)


@contextlib.contextmanager
def _only_run(airflow: AirflowClient, folder: Path) -> Iterator[Callable[[Submission], str]]:
    """Gives a function that starts the run; a demo that is broken off takes its run with it.

    Otherwise the next demo's Airflow would first go on with this one's.
    """
    note = folder / "running"
    if note.exists():  # of a demo that was killed before it could do so
        _give_up(airflow, note)

    def begin(submission: Submission) -> str:
        run_id = new_run_id(submission.document.spec.name)
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(run_id, encoding="utf-8")
        return airflow.trigger(DAG_ID, submission.conf(), run_id=run_id)

    try:
        yield begin
    except BaseException:
        with uninterrupted():
            _give_up(airflow, note)
        raise
    note.unlink(missing_ok=True)


def _give_up(airflow: AirflowClient, note: Path) -> None:
    with contextlib.suppress(AirtuneError, OSError):
        run_id = note.read_text(encoding="utf-8")
        if not airflow.dag_run(DAG_ID, run_id).ended:
            airflow.fail(DAG_ID, run_id)
    note.unlink(missing_ok=True)


def _prepared(path: Path, assignments: list[str], home: Path) -> Submission:
    """The run to send; what it leaves open is filled with the demo's own dataset and base model."""
    looked_at = prepare(path, assignments, home=None)
    document = looked_at.document.with_overrides(looked_at.overrides)
    return prepare(path, [*assignments, *demonstration.defaults(document)], home=home)


def _tell(end: Ending, summary: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, task in summary["tasks"].items():
        table.add_row(name, str(task["state"]), "" if task["seconds"] is None else f"{task['seconds']:.1f} s")
    OUT.print(table)
    scores = summary["evaluation"]
    if scores:
        for model in ("base", "tuned"):
            for metric, value in scores[model].items():
                OUT.print(f"{model:6} {metric.replace('_', ' ')} [bold]{value:.3f}[/] on {scores['samples']} samples")
    if summary["artifacts"]:
        files, size = summary["artifacts"]["files"], summary["artifacts"]["bytes"] / 1e6
        OUT.print(f"published {files} files, {size:.1f} MB: {escape(summary['artifacts']['run_uri'])}")
    if summary["reload"]:
        OUT.print(f"loaded back by a fresh process: {summary['reload']['agreement']:.0%} of its answers agree")
    if summary["airflow_seconds"] is not None:
        OUT.print(
            f"Airflow's own share of the DAG run: {summary['airflow_seconds']:.1f} s of {end.dag_run.seconds:.1f} s"
        )
    report = demonstration.copy_report(end.run, folder / "report.html") if end.run else None
    if report is not None:
        OUT.print(f"report: {escape(str(report))}")
    OUT.print(f"figures: {escape(str(folder / 'summary.json'))}")
    if end.run is not None:
        OUT.print(f"to look at it again: airtune up, then airtune show {escape(end.run.uri)}", style="dim")
    tell_ending(end)
