"""What a run trains on: the resolved settings, and the samples, exactly as they were validated."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from airtune.catalog.entry import CatalogEntry
from airtune.catalog.registry import entry_of
from airtune.datasets.pictures.images import Images
from airtune.datasets.record import Record, read_records
from airtune.datasets.splitting.sealing import check_sealed
from airtune.errors import DataError, Problem, SettingsError
from airtune.runspec.resolved import ResolvedRun
from airtune.stores import layout
from airtune.stores.resolution import resolution_of
from airtune.stores.run_directory import RunDirectory
from airtune.training import ranks

_SAY_EVERY_S: Final = 2.0


@dataclass(frozen=True)
class Inputs:
    """What the stages before have left.

    Attributes:
        run: every setting, concrete.
        entry: the catalog entry of the architecture.
        records: the samples of both splits.
        images: their pictures.
        row_tokens: into how long rows samples may be packed, by the resolver's estimate of memory; None: it sets none.
    """

    run: ResolvedRun
    entry: CatalogEntry
    records: list[Record]
    images: Images
    row_tokens: int | None = None


def every_two_seconds(what: str, say: Callable[[str], None]) -> Callable[[int, int], None]:
    """A meter that says now and then how many of all are done."""
    said = time.monotonic()

    def meter(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= _SAY_EVERY_S:
            said = time.monotonic()
            say(f"{done:,} of {total:,} {what}")

    return meter


def read_inputs(directory: RunDirectory, say: Callable[[str], None]) -> Inputs:
    """Reads the run directory and holds every picture against what validation saw.

    Raises:
        SettingsError: the run is not resolved, or asks for what cannot be trained yet.
        DataError: the records are not those the run was resolved on, or pictures are gone or have changed since
            validation.
    """
    resolution = resolution_of(directory)
    run = resolution.run
    if run.training_mode == "SFT" and ranks.world() > 1 and run.early_stopping_metric != "loss":
        raise SettingsError(
            Problem("airtune.earlyStoppingMetric", "answers cannot be generated while a model is divided among devices",
                    value=run.early_stopping_metric, allowed="loss", fix="or train on one device")
        )  # fmt: skip
    directory.fetch(layout.RECORDS, layout.FACTS)
    records = read_records(directory.path(layout.RECORDS))
    check_sealed(records, resolution.facts.get("data", {}))
    known = entry_of(run)
    if run.task.needs_video and not known.video:
        raise SettingsError(
            Problem("architecture.name", f"{known.display_name} takes no videos", value=known.key,
                    fix="choose an architecture that does, for example qwen3vl")
        )  # fmt: skip
    if not any(record.split == "train" for record in records):
        raise DataError(Problem(layout.RECORDS, "holds no sample to train", fix="run `airtune validate` again"))
    root = str(directory.read_json(layout.FACTS)["root_uri"])
    say(f"{len(records):,} samples; holding their pictures against what was validated")
    images = Images(root)
    if ranks.is_main():  # the others hold a picture against its digest when they read it
        images.verify(records, every_two_seconds("pictures held against what was validated", say))
    return Inputs(run, known, records, images, resolution.estimate.get("row_tokens"))
