"""``airtune estimate``: what a run will take, on a GPU of one's choice, before any GPU is taken."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from airtune.cli.checking import AsJson, Assignments
from airtune.cli.surroundings import find_home, find_store
from airtune.cli.words import OUT, print_json, say
from airtune.errors import Problem, SettingsError
from airtune.resolution import accelerators
from airtune.resolution.device import Device
from airtune.resolution.estimate_table import estimate_lines
from airtune.resolution.stage import foresee
from airtune.runspec.resolved import Resolution
from airtune.stores.run_directory import RunDirectory


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(rich_help_panel="run.json")(estimate)


def estimate(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run.json, or the URI of a run whose data was validated.")
    ],
    gpu_memory: Annotated[str | None, typer.Option(help="Memory of the GPU, for example 24GB.")] = None,
    gpu: Annotated[str | None, typer.Option(help="The GPU, for example A100-40GB, L4 or H100.")] = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Predicts what a run trains, its memory, its time, and whether it fits a GPU.

    Looks at the dataset and at the base model's headers; no weight is read and no GPU is needed. A dataset that was
    not validated yet is validated first, in a folder that is deleted again.
    """
    device = _device(gpu_memory, gpu)
    if run.startswith(("file://", "s3://")) and not run.endswith(".json"):
        if assignments:
            raise SettingsError(Problem("--set", "needs a run.json, not a run", value=run))
        find_store()
        found = foresee(RunDirectory.open(run), device, hub_needed=False)
    else:
        found = _of_file(Path(run), assignments or [], device)
    if as_json:
        print_json({"run": found.run.name, "warnings": list(found.warnings), **found.estimate})
        return
    OUT.print(f"[bold]{escape(found.run.name)}[/]")
    for line in estimate_lines(found.estimate):
        OUT.print(escape(line))
    for warning in found.warnings:
        OUT.print(f"advice: {escape(warning)}", style="yellow")


def _of_file(file: Path, assignments: list[str], device: Device | None) -> Resolution:
    from airtune.datasets.stage import validate
    from airtune.embedded.submission import prepare
    from airtune.resolution.intake import load_run

    submission = prepare(file, assignments, home=find_home())
    with tempfile.TemporaryDirectory(prefix="airtune-estimate-") as folder:
        store = Path(folder).as_uri()
        made = load_run(submission.document.raw, submission.overrides, "estimate", store)
        say("looking at the dataset")
        validate(made, tell=say)
        return foresee(made, device, hub_needed=False)


def _device(memory: str | None, gpu: str | None) -> Device | None:
    """The GPU that was named, or None: the one that is found, if any."""
    if gpu is None:
        return None if memory is None else Device(None, accelerators.parse_memory(memory), None, 1, "--gpu-memory")
    named, size = accelerators.parse(gpu)
    told = size if memory is None else accelerators.parse_memory(memory)
    return Device(named.name, told, named.capability, 1, "--gpu")
