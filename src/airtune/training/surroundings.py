"""What a trainer works with beside its model and its data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airtune.stores.run_directory import RunDirectory
from airtune.training.journal import Journal
from airtune.training.mirror import Mirror
from airtune.training.pace import Pace
from airtune.training.remedies import Remedies
from airtune.training.stopping import StopRequest

if TYPE_CHECKING:
    from airtune.training.scores import Scores


@dataclass
class Surroundings:
    """Everything that a training reads from, writes to and asks.

    Attributes:
        directory: the run directory.
        pace: writes one row of metrics a logging step.
        evaluations: one row an evaluation.
        mirror: copies to a remote store.
        stop: whether the process was told to stop.
        say: where lines go.
        remedies: how batches are cut up, and what is done when memory runs out.
        scores: generates and scores answers, where early stopping goes by them.
    """

    directory: RunDirectory
    pace: Pace
    evaluations: Journal
    mirror: Mirror
    stop: StopRequest
    say: Callable[[str], None]
    remedies: Remedies
    scores: Scores | None = None
