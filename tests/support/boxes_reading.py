"""What the tests of the readers of boxes share: files put down, a dataset read, its outcomes in short."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from airtune.datasets.draft import REMEDIES, Draft, Outcome, SetAside
from airtune.datasets.readers.formats import Reader, reader_for
from airtune.datasets.sources.source import Source
from airtune.runspec.tasks import Task


def put(root: Path, files: Mapping[str, str | bytes | None]) -> None:
    """Writes files by key; None stands for a picture."""
    for number, (key, content) in enumerate(files.items()):
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            Image.new("RGB", (64, 48), (number, 0, 0)).save(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())


def read(root: Path, name: str, task: Task = Task.PHRASE_GROUNDING) -> tuple[list[Outcome], Reader]:
    """A dataset, which must be recognised as being in this format and no other."""
    found, reader = reader_for(Source.open(root.as_uri()), None)
    assert found == name
    return list(reader.read(task)), reader


def drafts(outcomes: list[Outcome]) -> list[Draft]:
    """All outcomes, none of which was set aside."""
    assert all(isinstance(outcome, Draft) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Draft)]


def aside(outcomes: list[Outcome]) -> str:
    """Reason and message of the only outcome."""
    [outcome] = outcomes
    assert isinstance(outcome, SetAside), outcome
    assert outcome.reason in REMEDIES
    return f"{outcome.reason}: {outcome.message}"


def boxes(draft: Draft) -> dict[str, list[list[float]]]:
    """The boxes by phrase."""
    return {item["phrase"]: item["boxes"] for item in draft.truth["groundings"]}
