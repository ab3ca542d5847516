"""``airtune submit`` and ``airtune show``: sends a run to Airflow, follows it, and says how it came out."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape

from airtune.cli import progress, showing
from airtune.cli.checking import AsJson, Assignments, RunFile
from airtune.cli.stages import RunUri
from airtune.cli.surroundings import find_airflow, find_home, find_store
from airtune.cli.words import ERR, OUT, print_json, tell_problems
from airtune.embedded.airflow import DAG_ID
from airtune.embedded.following import Ending, ending, follow
from airtune.embedded.submission import prepare


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = "Runs"
    app.command(rich_help_panel=group)(submit)
    app.command(rich_help_panel=group)(show)


def submit(
    file: RunFile,
    assignments: Assignments = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it; the exit code says how it ended.")] = False,
    run_id: Annotated[str | None, typer.Option(help="A name for the run; default: made from its own name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Checks a run.json and sends it to Airflow."""
    find_store()
    submission = prepare(file, assignments or [], home=find_home())
    with find_airflow() as airflow:
        wanted = run_id or new_run_id(submission.document.spec.name)
        dag_run_id = airflow.trigger(DAG_ID, submission.conf(), run_id=wanted)
        if not wait:
            _submitted(dag_run_id, airflow.url, as_json)
            return
        ERR.print(f"run [bold]{escape(dag_run_id)}[/] at {escape(airflow.url)}")
        view = progress.show(follow(airflow, DAG_ID, dag_run_id), ERR)
        end = ending(airflow, DAG_ID, view.dag_run)
    if as_json:
        print_json(summary(end))
    else:
        tell_ending(end)
        if end.run is not None:
            OUT.print(f"airtune show {escape(end.run.uri)}", style="dim")
    raise typer.Exit(end.exit_code)


def show(run_uri: RunUri, as_json: AsJson = False) -> None:
    """Prints a run: what was asked, what was resolved, scores, the gate's decision, what was published."""
    from airtune.stores.run_directory import RunDirectory

    find_store()
    found = showing.collect(RunDirectory.open(run_uri))
    if as_json:
        print_json(found)
    else:
        showing.print_run(found)


def new_run_id(name: str) -> str:
    """A name for a run: that of the run.json, the time, and a few characters against two in one second."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:60] or "run"
    return f"{plain}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def summary(end: Ending) -> dict[str, Any]:
    """How a run ended, for machines."""
    return {
        "dag_run_id": end.dag_run.run_id,
        "state": end.dag_run.state,
        "run_uri": end.run.uri if end.run else None,
        "exit_code": end.exit_code,
        "failed_task": end.dag_run.failed_task,
        "problems": [dict(problem) for problem in end.problems],
        "tasks": {str(task): {"state": task.state, "seconds": task.seconds} for task in end.dag_run.tasks},
        "seconds": end.dag_run.seconds,
    }


def tell_ending(end: Ending) -> None:
    """How a run ended, for people."""
    if end.exit_code == 0:
        took = f" after {end.dag_run.seconds:.0f} s" if end.dag_run.seconds else ""
        OUT.print(f"[bold green]done[/]{took}")
    else:
        tell_problems(end.problems)
        where = f" in {escape(end.dag_run.failed_task)}" if end.dag_run.failed_task else ""
        OUT.print(f"[bold red]failed[/]{where} (exit code {end.exit_code})")


def _submitted(dag_run_id: str, url: str, as_json: bool) -> None:
    page = f"{url}/dags/{DAG_ID}/runs/{dag_run_id}"
    if as_json:
        print_json({"dag_run_id": dag_run_id, "url": page})
    else:
        OUT.print(f"submitted [bold]{escape(dag_run_id)}[/]: {escape(page)}")
