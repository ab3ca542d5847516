"""Reads what a run was resolved to: for the stages after, and for whoever launches them."""

from __future__ import annotations

from airtune.errors import Problem, SettingsError
from airtune.runspec.resolved import Resolution
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory


def resolution_of(directory: RunDirectory) -> Resolution:
    """The content of ``resolution.json``.

    Raises:
        SettingsError: the run is not resolved.
    """
    if not directory.exists(layout.RESOLUTION):
        raise SettingsError(
            Problem(directory.uri, f"is not resolved: there is no {layout.RESOLUTION}", fix="run `airtune resolve`")
        )
    return Resolution.from_json(directory.store.read(layout.RESOLUTION))


def trains_every_parameter(run_uri: str) -> bool:
    """Whether a run is a full fine-tuning (SFT), whose weights are divided among several devices."""
    return resolution_of(RunDirectory.open(run_uri)).run.training_mode == "SFT"
