"""``airtune data diff``: how the data of two runs, or two datasets, differ."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from airtune.cli import data
from airtune.cli.surroundings import find_store
from airtune.cli.words import OUT, print_json, say

if TYPE_CHECKING:
    from airtune.datasets.comparison.drift import Drift, Side
    from airtune.stores.run_directory import RunDirectory

_NAMED = 5
_STYLES = {"none": "dim", "some": "yellow", "much": "red"}

_HELP = "A run's id or address, or a dataset: a folder, file:///… or s3://…."


def register(app: typer.Typer) -> None:
    """Adds the command to those of ``airtune data``."""
    del app
    data.app.command()(diff)


def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help=_HELP, show_default=False)],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Likewise.", show_default=False)],
    task: data.TaskName = None,
    as_json: data.AsJson = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write a page with a picture of each property.")
    ] = None,
) -> None:
    """Compares two datasets: samples added, removed and changed, and what has drifted."""
    from airtune.datasets.comparison.drift import compare
    from airtune.datasets.comparison.earlier import dataset_of
    from airtune.datasets.report.drift_page import drift_page
    from airtune.stores import layout

    data.check_report(report)
    find_store()
    runs = [_run(text) for text in (before, after)]
    known = task or next((run.read_json(layout.FACTS).get("task") for run in reversed(runs) if run is not None), None)
    with ExitStack() as stack:
        sides = [
            stack.enter_context(dataset_of(run) if run is not None else _of_dataset(text, known))
            for text, run in zip((before, after), runs, strict=True)
        ]
        (old, old_tables), (new, new_tables) = sides
        found = compare(old, new, before_tables=old_tables, after_tables=new_tables)
    if report is not None:
        report.write_text(drift_page(found), encoding="utf-8")
    if as_json:
        print_json(found.to_json())
    else:
        _print(found)


def _run(text: str) -> RunDirectory | None:
    """The run that is meant; None where it is a dataset."""
    from airtune.environment import Environment
    from airtune.stores import layout
    from airtune.stores.base import MissingError
    from airtune.stores.run_directory import RunDirectory

    if "://" in text:
        if text.rstrip("/").rpartition("/")[0].rpartition("/")[2] != layout.RUNS:
            return None
        try:
            return RunDirectory.open(text)
        except MissingError:
            return None
    if "/" in text or Path(text).exists():
        return None
    return RunDirectory.open(f"{Environment.read().store.rstrip('/')}/{layout.RUNS}/{text}")


@contextmanager
def _of_dataset(text: str, task: str | None) -> Iterator[tuple[Side, tuple[Path, Path]]]:
    from airtune.datasets import check
    from airtune.datasets.comparison.drift import Side
    from airtune.datasets.pictures.image_table import write_images

    uri = data.uri_of(text)
    with tempfile.TemporaryDirectory(prefix="airtune-diff-") as name:
        folder = Path(name)
        checked = check.check(check.Asked(uri=uri, task=data.task_of(uri, task, None)), folder, say)
        images = folder / "images.parquet"
        write_images(images, checked.inspected)
        yield Side.from_facts(text, checked.facts), (checked.assembly.records.path, images)


def _print(found: Drift) -> None:
    changes = found.changes
    OUT.print(f"before  {escape(found.before.name)}: {found.before.samples:,} samples, {found.before.images:,} images")
    OUT.print(f"after   {escape(found.after.name)}: {found.after.samples:,} samples, {found.after.images:,} images")
    OUT.print(
        f"{changes.same:,} the same, [green]{changes.added:,} added[/], [red]{changes.removed:,} removed[/], "
        f"[yellow]{changes.changed:,} changed[/], {changes.moved:,} on the other side of the split"
    )
    for change in changes.changes[:_NAMED]:
        was, now = (_what(change.part, row) for row in (change.before, change.after))
        what = f"{was} -> {now}" if change.part != "picture" else "another picture under this name"
        OUT.print(f"  {change.part} of {escape(_named(change.after))}: {escape(what)}", style="yellow")
    for word, style, rows in (
        ("added", "green", changes.added_samples),
        ("removed", "red", changes.removed_samples),
    ):
        for row in rows[:_NAMED]:
            OUT.print(f"  {word} {escape(_named(row))}: {escape(_short(row['target']))}", style=style)
    for each in found.properties:
        OUT.print(escape(each.words), style=_STYLES[each.level])
    OUT.print(f"[bold]{escape(found.words)}[/]")


def _named(row: Mapping[str, Any]) -> str:
    return f"{', '.join(row['images']) or row['id']} ({row['source_file']}:{row['source_line']})"


def _what(part: str, row: Mapping[str, Any]) -> str:
    return _short(row["prompt"] if part == "question" else row["target"])


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"
