"""``airtune up``, ``status`` and ``down``: the embedded Airflow and S3 server."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from airtune.cli.surroundings import find_home
from airtune.cli.words import OUT, print_json, say
from airtune.embedded import lifecycle
from airtune.embedded.airflow import ADMIN
from airtune.embedded.state import State, StateFile
from airtune.embedded.stopping import uninterrupted


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = "On this machine"
    app.command(rich_help_panel=group)(up)
    app.command(rich_help_panel=group)(status)
    app.command(rich_help_panel=group)(down)


def up() -> None:
    """Starts Airflow and an S3 server on this machine, and waits until they answer."""
    home = find_home()
    state, _ = lifecycle.up(home, say)
    show_addresses(state)


def show_addresses(state: State) -> None:
    """Prints where Airflow is and how to get in."""
    password = lifecycle.secrets(find_home()).admin_password
    OUT.print(f"Airflow   [bold]{escape(state.airflow_url)}[/]   user {ADMIN}   password {escape(password)}")
    OUT.print(f"S3        {escape(state.store['AWS_ENDPOINT_URL_S3'])}   {escape(state.store['AIRTUNE_STORE'])}")
    OUT.print("stop it with `airtune down`", style="dim")


def status(
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Says what runs on this machine; exit code 0 when all of it does, 1 when not."""
    home = find_home()
    state = StateFile(home).read() or State()
    rows = [
        {"name": each.name, "pid": each.pid, "running": each.process() is not None, "log": each.log}
        for each in state.processes
    ]
    everything = lifecycle.running(home) is not None
    if as_json:
        print_json({"running": everything, "home": str(home), "airflow_url": state.airflow_url, "processes": rows})
    else:
        for row in rows:
            word = "[green]running[/]" if row["running"] else "[red]ended[/]"
            OUT.print(f"{row['name']:14} {word:18} pid {row['pid']:<8} {escape(str(row['log']))}")
        if everything:
            show_addresses(state)
        else:
            OUT.print(f"not running (AIRTUNE_HOME={escape(str(home))}); start it with `airtune up`")
    raise typer.Exit(0 if everything else 1)


def down(
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing when nothing runs.")] = False,
    grace: Annotated[float, typer.Option(min=0, help="Seconds for a stage at work to save it.")] = 30.0,
) -> None:
    """Stops everything that was started on this machine, orphans of killed processes included."""
    home = find_home()
    with uninterrupted():
        count = lifecycle.down(home, say, grace_s=grace)
    if count or not quiet:
        OUT.print(f"stopped {count} processes" if count else "nothing was running")
