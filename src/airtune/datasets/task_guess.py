"""What a dataset is for, where nobody says: the task that most of its first annotations are usable for."""

from __future__ import annotations

from itertools import islice
from typing import Final

from airtune.datasets.draft import Draft
from airtune.datasets.readers.formats import Reader
from airtune.runspec.tasks import Task

_LOOKED_AT: Final = 200

_ORDER: Final = (Task.PHRASE_GROUNDING, Task.VQA, Task.FREEFORM, Task.VIDEO_FREEFORM, Task.GENERIC)
"""The narrower first, and it wins with nearly as many: any answer can be taken as plain text, and any text as an
answer to a question."""


_NEARLY: Final = 0.8
"""Some annotations may be broken, and still serve a task that asks for less."""


def guess_task(reader: Reader) -> Task | None:
    """The task that most of the first samples can be used for; None where they can be used for none.

    Args:
        reader: of the dataset; it is read from its beginning once a task.
    """
    usable = {
        task: sum(isinstance(outcome, Draft) for outcome in islice(reader.read(task), _LOOKED_AT)) for task in _ORDER
    }
    most = max(usable.values())
    return next((task for task in _ORDER if usable[task] >= _NEARLY * most), None) if most else None
