"""From a draft and its images to what is trained: the checks that need both, the target, and the sample's digest."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import orjson

from airtune.datasets.boxes import finish
from airtune.datasets.control_tokens import ControlTokens
from airtune.datasets.draft import Draft, Reject
from airtune.datasets.fingerprint import sample_digest
from airtune.datasets.inspection import ImageFacts, Inspected, check_size
from airtune.datasets.trained_text import trained_text
from airtune.datasets.videos import VideoFacts
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
