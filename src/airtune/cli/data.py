"""``airtune data ...``: a dataset by itself, without a run.json."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from airtune.cli.surroundings import find_store
from airtune.cli.words import OUT, print_json, say, tell_problems
from airtune.errors import DataError, ExitCode, Problem, SettingsError

Src = Annotated[
    str, typer.Argument(metavar="SRC", help="The dataset: a folder, file:///… or s3://….", show_default=False)
]
TaskName = Annotated[
    str | None, typer.Option("--task", help="What it is for, for example vqa; found by looking where it is left out.")
]
FormatName = Annotated[str | None, typer.Option("--format", help="Of its annotations, where looking does not tell.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]

app = typer.Typer(name="data", help="Datasets: check them before a run does.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, rich_help_panel="Datasets")


def uri_of(src: str) -> str:
    """The URI that a person means: a path is taken relative to the current folder."""
    return src.rstrip("/") if "://" in src else Path(src).expanduser().absolute().as_uri()


def check_report(path: Path | None) -> None:
    """Says at once, and not after the work, where a report cannot be written.

    Raises:
        SettingsError: its folder does not exist, or it is a folder itself.
    """
    if path is None or (path.parent.is_dir() and not path.is_dir()):
        return
    message = "is a folder" if path.is_dir() else "lies in a folder that does not exist"
    raise SettingsError(Problem("--report", message, value=str(path), fix="name a file in a folder that exists"))


@app.command()
def check(
    src: Src,
    task: TaskName = None,
    dataset_format: FormatName = None,
    as_json: AsJson = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write the page about the dataset.")
    ] = None,
    expectations: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A suite of expectations that is laid over the task's own: a path or a URI."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A base model's folder: its control tokens are escaped, and lengths counted in its tokens."),
    ] = None,
) -> None:
    """Checks a dataset as a run would: exit code 65 where it would be refused. Writes nothing but the report."""
    from airtune.datasets import check as checking
    from airtune.runspec.prompts import user_prompt

    check_report(report)
    find_store()
    uri = uri_of(src)
    with tempfile.TemporaryDirectory(prefix="airtune-check-") as folder:
        serves = task_of(uri, task, dataset_format)
        asked = checking.Asked(
            uri=uri,
            task=serves,
            format=dataset_format,
            user_prompt=user_prompt(serves),
            base_model=uri_of(model) if model is not None else None,
            expectations=uri_of(expectations) if expectations is not None else None,
        )
        checked = checking.check(asked, Path(folder), say)
        if report is not None:
            report.write_text(checked.page(uri.rpartition("/")[2]), encoding="utf-8")
        found = checked.to_json() | {"facts": checked.facts}
    code = ExitCode.DONE if checked.verdict.passed else ExitCode.DATA
    if as_json:
        print_json({"exit_code": int(code), **found})
    else:
        _print(found)
    raise typer.Exit(int(code))


def task_of(uri: str, named: str | None, dataset_format: str | None) -> Any:
    """The task that is named, else the one that most annotations of the dataset are for.

    Raises:
        SettingsError: there is no such task.
        DataError: the dataset does not tell.
    """
    from airtune.datasets.readers.formats import reader_for
    from airtune.datasets.sources.source import Source
    from airtune.datasets.task_guess import guess_task

    if named is None:
        task = guess_task(reader_for(Source.open(uri), dataset_format)[1])
        if task is None:
            raise DataError(Problem(uri, "no annotation tells what the dataset is for", fix="name its --task"))
        say(f"task {task.value}, as most of its annotations are for it (--task names another)")
        return task
    return named_task(named)


def named_task(name: str) -> Any:
    """The task of this name.

    Raises:
        SettingsError: there is no such task.
    """
    from airtune.runspec.tasks import Task

    try:
        return Task(name)
    except ValueError as error:
        allowed = ", ".join(task.value for task in Task)
        raise SettingsError(Problem("--task", "no such task", value=name, allowed=allowed)) from error


def _print(found: dict[str, Any]) -> None:
    facts = found["facts"]
    for kind, style in (("warnings", "yellow"), ("notes", None)):
        for line in found[kind]:
            OUT.print(f"{kind[:-1]}: {escape(line)}", style=style)
    tell_problems(found["problems"])
    word = "[green]passed[/]" if found["passed"] else "[red]refused[/]"
    OUT.print(
        f"{word}: {facts['samples']:,} samples on {facts['images']:,} images, {facts['train_samples']:,} to train, "
        f"{facts['validation_samples']:,} to validate, {facts['set_aside']:,} set aside"
    )
