"""``airtune check`` and ``airtune schema``: is this a run.json, and what may stand in one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from airtune.cli.words import OUT, print_json, tell_error
from airtune.errors import SettingsError

RunFile = Annotated[Path, typer.Argument(metavar="RUN.json", help="The file.", show_default=False)]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Replaces a setting; can stand many times.")
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = "run.json"
    app.command(rich_help_panel=group)(check)
    app.command(rich_help_panel=group)(schema)


def check(file: RunFile, assignments: Assignments = None, as_json: AsJson = False) -> None:
    """Checks a run.json and prints every problem at once."""
    from airtune.embedded.submission import prepare

    try:
        submission = prepare(file, assignments or [], home=None)
    except SettingsError as error:
        tell_error(error, as_json=as_json)
        if not as_json:
            count = len(error.problems)
            OUT.print(f"[red]{escape(str(file))}: {count} problem{'s' if count > 1 else ''}[/]")
        raise typer.Exit(int(error.exit_code)) from None
    notes = submission.document.notes
    if as_json:
        print_json({"exit_code": 0, "problems": [], "notes": list(notes)})
        return
    for note in notes:
        OUT.print(f"note: {escape(note)}", style="yellow")
    OUT.print(f"[green]{escape(str(file))} is a valid run.json[/]")


def schema(
    write: Annotated[
        Path | None, typer.Option(help="Write it to a file instead, for example include/configs/run.schema.json.")
    ] = None,
) -> None:
    """Prints the JSON schema of run.json."""
    from airtune.runspec.schema_export import schema_text

    if write is None:
        typer.echo(schema_text(), nl=False)
    else:
        write.write_text(schema_text(), encoding="utf-8")
