"""From a draft and its images to what is trained: the checks that need both, the target, and the sample's digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from airtune.datasets.annotations.boxes import finish
from airtune.datasets.annotations.control_tokens import ControlTokens
from airtune.datasets.annotations.trained_text import trained_text
from airtune.datasets.draft import Draft, Reject, SetAside
from airtune.datasets.fingerprint import sample_digest
from airtune.datasets.pictures.inspection import ImageFacts, Inspected, check_size
from airtune.datasets.pictures.videos import VideoFacts
from airtune.datasets.record import column_type
from airtune.datasets.spool import outcomes_of
from airtune.runspec.tasks import Task

SAMPLE_COLUMNS: Final = (
    "split",
    "task",
    "images",
    "image_digests",
    "video",
    "prompt",
    "target",
    "truth",
    "group",
    "width",
    "height",
    "digest",
    "source_file",
    "source_line",
    "video_digest",
    "frames",
    "frame_rate",
    "escaped",
    "repeated_boxes",
    "replaced",
)
"""A record but for its id. ``split`` is as delivered (None: left open), and ``group`` is the first image's digest, or
the video's, or that of the prompt where nothing is shown."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Outcomes from which samples are to be made, with all that is needed for it in another process.

    Attributes:
        path: the outcomes, see :mod:`airtune.datasets.spool`.
        inspected: what became of the images that they name.
        task: of the run.
        user_prompt: the user's text for samples that bring none; None leaves it empty.
        controls: what must not stand in a text as it is.
    """

    path: Path
    inspected: Inspected
    task: Task
    user_prompt: str | None
    controls: ControlTokens


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a chunk.

    Attributes:
        samples: a file of arrow with the columns :data:`SAMPLE_COLUMNS`; None where there is none.
        aside: what was set aside, in its order.
        scaled: samples whose image is the annotated one at another size.
    """

    samples: Path | None
    aside: list[SetAside]
    scaled: int


def make_samples(chunk: Chunk) -> Made:
    """Make samples of outcomes; the outcomes are removed from the disk."""
    rows, aside, scaled_images = [], [], 0
    for outcome in outcomes_of(chunk.path):
        if isinstance(outcome, SetAside):
            aside.append(outcome)
            continue
        try:
            row, scaled = sample_of(outcome, chunk.inspected, chunk.task, chunk.user_prompt, chunk.controls)
        except Reject as refusal:
            aside.append(refusal.at(outcome.place, outcome.images))
            continue
        rows.append(row)
        scaled_images += scaled
    chunk.path.unlink()
    if not rows:
        return Made(None, aside, 0)
    path = chunk.path.with_suffix(".arrow")
    _write(path, rows)
    return Made(path, aside, scaled_images)


def _write(path: Path, rows: list[tuple[Any, ...]]) -> None:
    import pyarrow as pa

    columns = zip(SAMPLE_COLUMNS, zip(*rows, strict=True), strict=True)
    table = pa.table({name: pa.array(values, column_type(name)) for name, values in columns})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def sample_of(
    draft: Draft, inspected: Inspected, task: Task, user_prompt: str | None, controls: ControlTokens
) -> tuple[tuple[Any, ...], bool]:
    """The sample that a draft becomes.

    Args:
        draft: as it was read.
        inspected: what became of every image.
        task: of the run.
        user_prompt: the user's text for samples that bring none; None leaves it empty.
        controls: what must not stand in a text as it is.

    Returns:
        The values of :data:`SAMPLE_COLUMNS`, and whether its image is the annotated one at another size.

    Raises:
        Reject: it cannot be trained.
    """
    facts = _facts(draft, inspected)
    scaled = any(check_size(draft, found, task) is not None for found in facts if isinstance(found, ImageFacts))
    truth = draft.truth
    if task is Task.PHRASE_GROUNDING and facts:
        truth = finish(truth, draft.units, draft.annotated_size or (facts[0].width, facts[0].height))
    text = trained_text(task, draft.prompt, truth, controls)
    film = facts[0] if facts and isinstance(facts[0], VideoFacts) else None
    digests = [] if film else [found.digest for found in facts]
    place = draft.place
    # A prompt that the run brings is no part of the data: the same data has the same digest in every run.
    own = draft.prompt or ""
    values = (
        place.split,
        task.value,
        draft.images,
        digests,
        draft.video,
        text.prompt if text.prompt is not None else user_prompt or "",
        text.target,
        orjson.dumps(text.truth).decode(),
        facts[0].digest if facts else hashlib.sha256(own.encode()).hexdigest(),
        facts[0].width if facts else 0,
        facts[0].height if facts else 0,
        sample_digest(
            task=task.value, image_digests=digests, prompt=own, truth=text.content, video=film.digest if film else None
        ),
        place.file,
        place.line,
        film.digest if film else None,
        film.frames if film else 0,
        film.rate if film else 0.0,
        text.escaped,
        text.repeated_boxes,
        text.replaced,
    )
    return values, scaled


def _facts(draft: Draft, inspected: Inspected) -> list[ImageFacts | VideoFacts]:
    facts: list[ImageFacts | VideoFacts] = []
    for key in draft.images if draft.video is None else (draft.video,):
        found = inspected[key]
        if isinstance(found, Reject):
            raise Reject(found.reason, found.message)
        facts.append(found)
    return facts
