"""The stage commands: what the DAG runs, a pod runs, and a person at a terminal can run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from airtune import launch
from airtune.cli.surroundings import find_store
from airtune.environment import Environment
from airtune.stores.resolution import trains_every_parameter
from airtune.stores.run_directory import RunDirectory
from airtune.stores.stage_record import stage

RunUri = Annotated[str, typer.Argument(metavar="RUN_URI", help="The run: file:///… or s3://…, ending in runs/RUN_ID.")]

_SEEN_GPUS: Final = "CUDA_VISIBLE_DEVICES"


def register(app: typer.Typer) -> None:
    """Adds the stage commands."""
    group = "Stages, in their order"
    app.command(rich_help_panel=group)(inspect)
    app.command(rich_help_panel=group)(validate)
    app.command(rich_help_panel=group)(resolve)
    app.command(rich_help_panel=group)(train)
    app.command(rich_help_panel=group)(evaluate)
    app.command(rich_help_panel=group)(gate)
    app.command(rich_help_panel=group)(publish)


def inspect(
    run_uri: RunUri,
    part: Annotated[str, typer.Option(metavar="NUMBER/COUNT", help="Which part, for example 2/5.", show_default=False)],
) -> None:
    """Looks at one part of a large dataset's images ahead of `validate`."""

    def work(run: RunDirectory) -> object:
        from airtune.datasets.parts import inspect_part

        return inspect_part(run, part)

    _run(f"inspect-{part.replace('/', '-of-')}", run_uri, work)


def validate(run_uri: RunUri) -> None:
    """Looks at everything in the run's dataset: records, facts, a report."""

    def work(run: RunDirectory) -> object:
        from airtune.datasets.stage import validate

        return validate(run)

    _run("validate", run_uri, work)


def resolve(run_uri: RunUri) -> None:
    """Makes every setting concrete, each with its source and reason."""

    def work(run: RunDirectory) -> object:
        from airtune.resolution.estimate_table import estimate_lines
        from airtune.resolution.stage import resolve

        resolution = resolve(run)
        return "\n".join([str(resolution), *estimate_lines(resolution.estimate)])

    _run("resolve", run_uri, work)


def train(run_uri: RunUri) -> None:
    """Fine-tunes; resumes from the newest checkpoint where there is one."""
    _launch(launch.TRAINING, run_uri)


def evaluate(run_uri: RunUri) -> None:
    """Scores the base model and the tuned one on the same samples."""
    _launch(launch.EVALUATION, run_uri)


def gate(run_uri: RunUri) -> None:
    """Compares with the current champion, and decides whether to promote."""

    def work(run: RunDirectory) -> object:
        from airtune.evaluation.gate import gate

        return gate(run)

    _run("gate", run_uri, work)


def publish(run_uri: RunUri) -> None:
    """Uploads the bundle and its manifest, loads it back, and promotes it where the gate says so."""

    def work(run: RunDirectory) -> object:
        from airtune.publishing.stage import publish

        return publish(run)

    _run("publish", run_uri, work)


def _run(name: str, run_uri: str, work: Callable[[RunDirectory], object]) -> None:
    """Runs a stage in this process; how it went is kept in the run directory, and is the exit code."""
    find_store()

    def recorded() -> None:
        run = RunDirectory.open(run_uri)
        with stage(run, name):
            result = work(run)
        print(result)

    raise typer.Exit(launch.exit_code_of(recorded))


def _launch(module: str, run_uri: str) -> None:
    """Becomes the process that supervises ``accelerate launch``: its signals and its exit code are ours."""
    find_store()
    gpus = _gpus()
    sharded = gpus > 1 and trains_every_parameter(run_uri)
    argv = launch.accelerate_argv(module, run_uri, gpus=gpus, sharded=sharded, python=sys.executable)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(argv[0], argv)  # noqa: S606  a list, no shell: this process is to be the supervisor


def _gpus() -> int:
    """``AIRTUNE_GPUS``, or one where this machine has one that may be used; torch is not asked: that takes seconds."""
    asked = Environment.read().gpus
    if asked is not None:
        return asked
    return int(os.environ.get(_SEEN_GPUS, "all") not in ("", "-1") and Path("/dev/nvidia0").exists())
