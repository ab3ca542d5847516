"""A few samples of a dataset as a model will see them, without looking at all of its images."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from airtune.datasets.annotations.control_tokens import ControlTokens, tokens_of_model
from airtune.datasets.draft import Draft, Outcome, Reject, SetAside
from airtune.datasets.pictures.images import Images
from airtune.datasets.pictures.inspection import inspect
from airtune.datasets.readers.formats import reader_for
from airtune.datasets.record import Record
from airtune.datasets.samples import SAMPLE_COLUMNS, sample_of
from airtune.datasets.sources.source import Source
from airtune.datasets.verdict import reasons_in_words
from airtune.errors import DataError, Problem, SettingsError
from airtune.modeling.conversation import messages
from airtune.modeling.text_files import TextFiles
from airtune.runspec.prompts import prompts_for
from airtune.runspec.tasks import Task

MOST_READ: Final = 200_000
"""Annotations among which the samples are drawn: reading more takes longer than a look is worth."""

_SPARE: Final = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """One sample as a model sees it.

    Attributes:
        record: what is trained; its ``split`` is only as delivered, see ``side``.
        side: the split as the dataset delivers it; empty where it does not.
        system: the system prompt.
        before: the conversation up to the answer, as the base model's chat template writes it; None without one.
        label: what is learned: the answer, and the end of its turn.
        tokens: of ``before`` (each picture one) and of ``label``; None without a tokenizer.
    """

    record: Record
    side: str
    system: str
    before: str | None
    label: str
    tokens: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Preview:
    """Some samples of a dataset.

    Attributes:
        uri: its root.
        format: of its annotations.
        task: what it was read for.
        samples: drawn by where they stand, so that the same dataset shows the same ones.
        read: annotations among which they were drawn.
        whole: whether these are all that there are.
        aside: of those, how many are set aside, in words by reason; and of the drawn ones, why. Empty when none.
        images: where the pictures are.
    """

    uri: str
    format: str
    task: Task
    samples: tuple[Seen, ...]
    read: int
    whole: bool
    aside: str
    images: Images


def preview(
    uri: str,
    task: Task,
    *,
    dataset_format: str | None = None,
    samples: int = 16,
    base_model: str | None = None,
    system_prompt: str | None = None,
) -> Preview:
    """Draw some samples, and look at their images alone.

    Args:
        uri: the dataset's root.
        task: what it is for.
        dataset_format: of its annotations; None looks for itself.
        samples: how many are wanted.
        base_model: URI of a model whose chat template and tokenizer are used; None shows the turns plainly.
        system_prompt: as in a run.json; None takes the task's own.

    Raises:
        DataError: there is no dataset, or none of its samples can be used.
        SettingsError: the base model's files are damaged or missing, or the prompt that is asked for is not at hand.
        NotPermittedError: the store or the platform forbids the dataset.
        StoreError: the store failed.
    """
    prompts = prompts_for(task, system_prompt)
    files = _text_files(base_model) if base_model is not None else None
    controls = ControlTokens(tokens_of_model(base_model) if base_model is not None else ())
    name, reader = reader_for(Source.open(uri), dataset_format)
    counted = _Counted()
    drafts = _drawn(counted.over(islice(reader.read(task), MOST_READ + 1)), samples * _SPARE)
    images = Images(uri)
    keys = {key for draft in drafts for key in draft.images}
    films = {draft.video for draft in drafts if draft.video is not None}
    inspected = inspect(images, keys, videos=films)
    seen: list[Seen] = []
    for draft in drafts:
        if len(seen) == samples:
            break
        try:
            values, _ = sample_of(draft, inspected, task, prompts.user, controls)
        except Reject as refusal:
            counted.aside[refusal.reason] += 1
            continue
        seen.append(_seen(_record(values), draft.place.split or "", prompts.system, files))
    aside = reasons_in_words(dict(counted.aside.most_common()))
    if not seen:
        found = f"none of {counted.read:,} samples can be used: {aside}" if aside else "the dataset has no annotations"
        raise DataError(Problem(uri, found, fix="airtune data check says more"))
    whole = counted.read <= MOST_READ
    return Preview(uri, name, task, tuple(seen), min(counted.read, MOST_READ), whole, aside, images)


def _text_files(base_model: str) -> TextFiles:
    files = TextFiles.read(base_model)
    if files.template is None and not files.special and files.count is None:
        raise SettingsError(
            Problem("base model", "there is neither a chat template nor a tokenizer", value=base_model,
                    fix="name the folder that holds tokenizer_config.json")
        )  # fmt: skip
    return files


class _Counted:
    """What came by on the way to the drawn samples."""

    def __init__(self) -> None:
        self.read = 0
        self.aside: Counter[str] = Counter()

    def over(self, outcomes: Iterator[Outcome]) -> Iterator[Draft]:
        for outcome in outcomes:
            self.read += 1
            if isinstance(outcome, SetAside):
                self.aside[outcome.reason] += 1
            else:
                yield outcome


def _drawn(drafts: Iterator[Draft], most: int) -> list[Draft]:
    """Some of them, drawn by where they stand; one after the other in an order that follows nothing of the data."""

    def lot(draft: Draft) -> bytes:
        return hashlib.sha256(str(draft.place).encode("utf-8", "replace")).digest()

    return heapq.nsmallest(most, drafts, key=lot)


def _record(values: tuple[Any, ...]) -> Record:
    row = dict(zip(SAMPLE_COLUMNS, values, strict=True))
    row["images"], row["image_digests"] = tuple(row["images"]), tuple(row["image_digests"])
    return Record(**{**row, "id": row["digest"][:16], "split": row["split"] or "train"})


def _seen(record: Record, side: str, system: str, files: TextFiles | None) -> Seen:
    rendered = None
    if files is not None:
        films = int(record.video is not None)
        asked = messages(system, len(record.images), record.prompt, videos=films)
        before = files.render(asked, asks=True)
        rendered = None if before is None else (before, record.target + files.end_of_turn())
    if rendered is None or files is None:
        return Seen(record, side, system, None, record.target, None)
    counts = None if files.count is None else (files.count(rendered[0]), files.count(rendered[1]))
    return Seen(record, side, system, *rendered, counts)
