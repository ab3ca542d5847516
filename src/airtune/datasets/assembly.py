"""From drafts and looked-at images to records: what is used, what is set aside, and which side each sample is on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from airtune.datasets.boxes import finish
from airtune.datasets.control_tokens import ControlTokens
from airtune.datasets.draft import Draft, Outcome, Reject, SetAside
from airtune.datasets.fingerprint import sample_digest
from airtune.datasets.inspection import ImageFacts, Inspected, check_size
from airtune.datasets.record import Record, Split
from airtune.datasets.split import (
    SplitRule,
    default_ratio,
    fewest_for_validation,
    groups_of,
    split_by_content,
)
from airtune.datasets.trained_text import TrainedText, trained_text
from airtune.datasets.videos import VideoFacts
from airtune.runspec.tasks import Task


@dataclass(frozen=True, slots=True)
class Usable:
    """A sample that can be trained, before it is known on which side.

    Attributes:
        draft: as it was read.
        facts: of its images, or of its video.
        text: what is trained of it.
        scaled: whether its image is the annotated one at another size.
    """

    draft: Draft
    facts: tuple[ImageFacts | VideoFacts, ...]
    text: TrainedText
    scaled: bool

    @property
    def shown(self) -> list[str]:
        """What must not stand on both sides of a split: images or video, by content; of text alone the text."""
        if self.facts:
            return [facts.digest for facts in self.facts]
        return [hashlib.sha256((self.draft.prompt or "").encode()).hexdigest()]

    @property
    def film(self) -> VideoFacts | None:
        """Its video, if it shows one."""
        return next((facts for facts in self.facts if isinstance(facts, VideoFacts)), None)


@dataclass(frozen=True, slots=True)
class Assembly:
    """All samples of a dataset.

    Attributes:
        records: those that are used, in the order of their split, file and line.
        set_aside: the others, in the order of file and line.
        rule: how the split came about.
        replaced: characters that were replaced in targets, by record id.
        scaled: samples whose image is the annotated one at another size.
    """

    records: tuple[Record, ...]
    set_aside: tuple[SetAside, ...]
    rule: SplitRule
    replaced: dict[str, int]
    scaled: int


def assemble(
    outcomes: Iterable[Outcome],
    inspected: Inspected,
    *,
    task: Task,
    user_prompt: str | None,
    ratio: float | None,
    controls: ControlTokens,
) -> Assembly:
    """Make records of all samples that can be trained.

    Args:
        outcomes: what the reader found.
        inspected: what became of every image.
        task: of the run.
        user_prompt: the user's text for samples that bring none; None leaves it empty.
        ratio: the share of images for validation where the dataset brings no split; None takes the default.
        controls: what must not stand in a text as it is.
    """
    usable: list[Usable] = []
    aside: list[SetAside] = []
    delivered: set[Split | None] = set()
    for outcome in outcomes:
        delivered.add(outcome.place.split)
        if isinstance(outcome, SetAside):
            aside.append(outcome)
            continue
        try:
            usable.append(_checked(outcome, inspected, task, controls))
        except Reject as refusal:
            aside.append(refusal.at(outcome.place, outcome.images))
    groups = groups_of(sample.shown for sample in usable)
    sides, rule = _sides(delivered, groups, ratio)
    records, replaced = _records(usable, groups, sides, task, user_prompt)
    aside.sort(key=lambda row: (row.place.file, row.place.line, row.place.index))
    return Assembly(tuple(records), tuple(aside), rule, replaced, sum(sample.scaled for sample in usable))


def _checked(draft: Draft, inspected: Inspected, task: Task, controls: ControlTokens) -> Usable:
    facts: list[ImageFacts | VideoFacts] = []
    for key in draft.images if draft.video is None else (draft.video,):
        found = inspected[key]
        if isinstance(found, Reject):
            raise Reject(found.reason, found.message)
        facts.append(found)
    scaled = any(check_size(draft, found, task) is not None for found in facts if isinstance(found, ImageFacts))
    truth = draft.truth
    if task is Task.PHRASE_GROUNDING and facts:
        truth = finish(truth, draft.units, draft.annotated_size or (facts[0].width, facts[0].height))
    return Usable(draft, tuple(facts), trained_text(task, draft.prompt, truth, controls), scaled)


def _sides(
    delivered: set[Split | None], groups: dict[str, str], ratio: float | None
) -> tuple[dict[str, Split] | None, SplitRule]:
    """The side of each group where the dataset leaves it open (None where it was delivered)."""
    # What was set aside counts as delivered too: a validation split that is all broken is no reason to make another.
    if {"train", "validation"} <= delivered:
        return None, SplitRule("delivered", None)
    sizes = Counter(groups.values())
    share = ratio if ratio is not None else default_ratio(len(groups))
    return (
        split_by_content(sizes, share, fewest_for_validation(len(groups), ratio)),
        SplitRule("by content", share),
    )


def _records(
    usable: Sequence[Usable],
    groups: dict[str, str],
    sides: dict[str, Split] | None,
    task: Task,
    user_prompt: str | None,
) -> tuple[list[Record], dict[str, int]]:
    records: list[Record] = []
    replaced: dict[str, int] = {}
    seen: Counter[str] = Counter()
    ordered = sorted(usable, key=lambda sample: _position(sample.draft))
    for sample in ordered:
        draft, film, text = sample.draft, sample.film, sample.text
        digests = tuple(facts.digest for facts in sample.facts if film is None)
        group = groups[sample.shown[0]]
        width, height = (sample.facts[0].width, sample.facts[0].height) if sample.facts else (0, 0)
        digest = sample_digest(
            # A prompt that the run brings is no part of the data: the same data has the same digest in every run.
            task=task.value,
            image_digests=digests,
            prompt=draft.prompt or "",
            truth=text.content,
            video=film.digest if film is not None else None,
        )
        seen[digest] += 1
        name = digest[:16] if seen[digest] == 1 else f"{digest[:16]}-{seen[digest]}"
        if text.replaced:
            replaced[name] = text.replaced
        prompt = text.prompt if text.prompt is not None else user_prompt
        records.append(
            Record(
                id=name,
                split=sides[group] if sides is not None else draft.place.split or "train",
                task=task.value,
                images=draft.images,
                image_digests=digests,
                video=draft.video,
                prompt=prompt or "",
                target=text.target,
                truth=json.dumps(text.truth, ensure_ascii=False, separators=(",", ":")),
                group=group,
                width=width,
                height=height,
                digest=digest,
                source_file=draft.place.file,
                source_line=draft.place.line,
                escaped=text.escaped,
                repeated_boxes=text.repeated_boxes,
                video_digest=film.digest if film is not None else None,
                frames=film.frames if film is not None else 0,
                frame_rate=film.rate if film is not None else 0.0,
            )
        )
    # A stable sort: within a split the order of the files stays.
    return sorted(records, key=lambda record: record.split), replaced


def _position(draft: Draft) -> tuple[str, int, int]:
    return draft.place.file, draft.place.line, draft.place.index
