"""``airtune data convert``: a dataset in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from airtune.cli import data
from airtune.cli.surroundings import find_store
from airtune.cli.words import OUT, print_json, say
from airtune.errors import Problem, SettingsError
from airtune.stores.opening import local_path


def register(app: typer.Typer) -> None:
    """Adds the command to those of ``airtune data``."""
    del app
    data.app.command()(convert)


def convert(
    src: data.Src,
    dst: Annotated[str, typer.Argument(metavar="DST", help="The folder to make.", show_default=False)],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="vi, coco or chat-jsonl.", show_default=False)],
    task: Annotated[
        str | None, typer.Option("--task", help="Which samples; where it is left out, all that the format tells apart.")
    ] = None,
    dataset_format: data.FormatName = None,
    link: Annotated[bool, typer.Option("--link", help="Hard links to the images instead of copies.")] = False,
    as_json: data.AsJson = False,
) -> None:
    """Writes a dataset in another format: every sample is written, or named with the reason why not."""
    from airtune.datasets import conversion

    find_store()
    wanted = data.named_task(task) if task is not None else None
    done = conversion.convert(
        data.uri_of(src), folder_of(dst), to, task=wanted, named=dataset_format, link=link, tell=say
    )
    if as_json:
        print_json({"exit_code": 0, **done.to_json()})
        return
    for note in done.notes:
        OUT.print(f"note: {escape(note)}")
    if done.left_file is not None:
        reasons = ", ".join(f"{count} {reason}" for reason, count in done.left.items())
        OUT.print(f"[yellow]not written: {reasons}[/]; each is named in {escape(str(done.left_file))}")
    samples = ", ".join(f"{count:,} for {name}" for name, count in done.samples.items())
    OUT.print(f"[green]{escape(dst)}[/]: {samples}, on {done.images:,} images, as {to}")


def folder_of(dst: str) -> Path:
    """The folder that DST names, as a path or as its URI.

    Raises:
        SettingsError: it is no place on this machine.
    """
    if "://" not in dst:
        return Path(dst).expanduser()
    folder = local_path(dst)
    if folder is None:
        raise SettingsError(
            Problem(
                "DST", "a dataset is written to a folder of this machine", value=dst, fix="write it there, and copy it"
            )
        )
    return folder
