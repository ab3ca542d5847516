"""``airtune data preview``: what a model will see of a dataset, for a person to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from airtune.cli import data
from airtune.cli.surroundings import find_store
from airtune.cli.words import OUT, print_json, say
from airtune.errors import Problem, SettingsError

PAGE = "preview.html"
SHEET = "contact-sheet.png"


def register(app: typer.Typer) -> None:
    """Adds the command to those of ``airtune data``."""
    del app
    data.app.command()(preview)


def preview(
    src: data.Src,
    task: data.TaskName = None,
    dataset_format: data.FormatName = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the two files go.")] = Path("preview"),
    samples: Annotated[int, typer.Option("--samples", min=1, max=200, help="How many are shown.")] = 16,
    model: Annotated[
        str | None,
        typer.Option(help="A base model's folder, for its chat template and tokenizer: a path, file:///… or s3://…"),
    ] = None,
    system_prompt: Annotated[
        str | None, typer.Option(help='The system prompt, as in a run.json ("vi" too); default: the task\'s own.')
    ] = None,
    as_json: data.AsJson = False,
) -> None:
    """Shows some samples: a contact sheet with boxes drawn (PNG), and the conversations that are learned (HTML)."""
    from airtune.datasets.preview import preview as drawn
    from airtune.datasets.report.contact_sheet import contact_sheet
    from airtune.datasets.report.preview_page import preview_page

    find_store()
    uri = data.uri_of(src)
    found = drawn(
        uri,
        data.task_of(uri, task, dataset_format),
        dataset_format=dataset_format,
        samples=samples,
        base_model=data.uri_of(model) if model is not None else None,
        system_prompt=system_prompt,
    )
    files = {PAGE: preview_page(found, model).encode(), SHEET: contact_sheet(found.samples, found.images)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (out / name).write_bytes(content)
    except OSError as error:
        raise SettingsError(Problem("--out", f"cannot be written to: {error.strerror}", value=str(out))) from error
    if as_json:
        paths = [str(out / name) for name in files]
        print_json({"exit_code": 0, "samples": len(found.samples), "read": found.read, "files": paths})
        return
    if found.aside:
        say(f"set aside on the way: {found.aside}")
    for name in files:
        OUT.print(escape(str(out / name)))
