"""The dataset that a run's data is compared with: that of the champion, the run that is in use now."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airtune.datasets.comparison.drift import Drift, Side, compare
from airtune.errors import AirtuneError, DataError, Problem
from airtune.stores import layout
from airtune.stores.base import MissingError
from airtune.stores.run_directory import RunDirectory


@contextmanager
def dataset_of(run: RunDirectory) -> Iterator[tuple[Side, tuple[Path, Path]]]:
    """What validation has left in a run's directory, as :func:`airtune.datasets.comparison.drift.compare` takes it.

    Yields:
        The dataset, and local copies of its records and of its images; the copies go when the block ends, and the
        second is missing in runs of airtune 0.1.0 and before.

    Raises:
        MissingError: the run has no validated dataset.
        DataError: its facts cannot be read.
    """
    try:
        side = Side.from_facts(run.run_id, run.read_json(layout.FACTS))
    except (KeyError, TypeError) as error:
        raise DataError(
            Problem(f"{run.uri}/{layout.FACTS}", f"lacks {error}", fix="run `airtune validate` again")
        ) from error
    with tempfile.TemporaryDirectory(prefix="airtune-") as folder:
        paths = Path(folder, "records.parquet"), Path(folder, "images.parquet")
        run.store.download_file(layout.RECORDS, paths[0])
        if run.exists(layout.IMAGES):
            run.store.download_file(layout.IMAGES, paths[1])
        yield side, paths


def drift_since_champion(
    run: RunDirectory, model: str, facts: dict[str, Any], tables: tuple[Path, Path]
) -> tuple[Drift | None, str | None]:
    """Compare a run's dataset with that of the champion of its model.

    Where the champion's dataset is gone, the champion before it is taken. That there is nothing to compare with, or
    that it cannot be read, stops no run.

    Args:
        run: whose store is searched.
        model: the run's ``spec.flow.name``.
        facts: of the run's dataset.
        tables: its records and its images, on this machine.

    Returns:
        The drift, or None; and why there is none, or None where there never was a champion.
    """
    after = Side.from_facts(run.run_id, facts)
    missing: str | None = None
    try:
        for champion in _champions(run, model):
            earlier = RunDirectory(run.root.uri, champion)
            try:
                with dataset_of(earlier) as (before, before_tables):
                    return compare(before, after, before_tables=before_tables, after_tables=tables), None
            except MissingError:
                missing = missing or f"the champion {champion} has no dataset any more to compare with"
    except AirtuneError as error:
        return None, f"the dataset could not be compared with the champion's: {error.problems[0].message}"
    except (ValueError, KeyError, TypeError) as error:  # tables that another version of airtune has written
        return None, f"the dataset could not be compared with the champion's: {error}"
    return None, missing


def _champions(run: RunDirectory, model: str) -> Iterator[str]:
    """Ids of the runs that were promoted under a name, the newest first, without ``run`` itself."""
    store = run.model_store(layout.model_folder_name(model))
    current, history = store.read_versioned(layout.CURRENT), store.read_versioned(layout.HISTORY)
    lines = [*(history[0].splitlines() if history else ()), *([current[0]] if current else ())]
    seen = {run.run_id}
    for line in reversed(lines):
        try:
            run_id = layout.check_run_id(json.loads(line)["run_id"])
        except (ValueError, KeyError, TypeError, AirtuneError):
            continue  # a person's slip in a file that people may mend; the gate says so where it matters
        if run_id not in seen:
            seen.add(run_id)
            yield run_id
