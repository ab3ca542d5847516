"""What is found by looking over all records once they lie on disk, beside their expectations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from airtune.datasets.annotations.lost_characters import lost_character_warnings
from airtune.datasets.annotations.repeats import repeat_warnings
from airtune.datasets.counting import Counts
from airtune.datasets.record_table import RecordTable
from airtune.runspec.tasks import Task

WORTH_SPREADING: Final = 20_000
"""Records from which on another process looks, while this one is busy with expectations."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found.

    Attributes:
        counts: what there is.
        warnings: what a person should look at.
    """

    counts: Counts
    warnings: tuple[str, ...]


def look_over(job: tuple[RecordTable, Task]) -> Findings:
    """Look over the records of a dataset, for the task of the run."""
    records, task = job
    return Findings(Counts(records), (*repeat_warnings(records, task), *lost_character_warnings(records)))
