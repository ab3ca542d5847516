"""The samples that the report shows: sorted into what changed, chosen so that each kind is seen, bounded in size."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from PIL import Image

from airtune.answering.scoring import is_right
from airtune.errors import AirtuneError
from airtune.evaluation.predictions import Prediction
from airtune.evaluation.report.pictures import Thumbnail, thumbnail
from airtune.evaluation.report.wording import visible
from airtune.runspec.answers import COORDINATE_RANGE
from airtune.runspec.tasks import Task

Kind = Literal["broken", "unreadable", "wrong", "fixed", "right"]
KINDS: Final[tuple[Kind, ...]] = ("broken", "unreadable", "wrong", "fixed", "right")
MOST_CARDS: Final = 400
_LONGEST_TEXT: Final = 1500
_MOST_BOXES: Final = 60


@dataclass(frozen=True, slots=True)
class Box:
    """A box over a picture, in the thumbnail's units."""

    style: str
    left: float
    top: float
    width: float
    height: float
    label: str


@dataclass(frozen=True, slots=True)
class Said:
    """What one model said to a sample.

    Attributes:
        who: for example ``trained, greedy``.
        style: CSS class.
        answer: as its task reads it, or what was said where that cannot be read.
        raw: exactly what was said, where that looks different.
        problem: why it cannot be read, or None.
        right: whether it counts as answered.
        notes: more that is worth knowing (cut off, overlap).
    """

    who: str
    style: str
    answer: str
    raw: str | None
    problem: str | None
    right: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """All answers to one sample.

    Attributes:
        number: its place in the validation split, from 1.
        kinds: what it is, see :func:`kinds_of`; the first one says where it stands.
        tuned: the trained model's greedy answer.
        base: the base model's greedy answer.
        sampled: the trained model's drawn answer, or None.
    """

    number: int
    kinds: tuple[str, ...]
    tuned: Prediction
    base: Prediction
    sampled: Prediction | None


@dataclass(frozen=True, slots=True)
class Card:
    """One sample as the template draws it."""

    number: int
    name: str
    kinds: tuple[str, ...]
    pictures: tuple[Thumbnail, ...]
    boxes: tuple[Box, ...]
    prompt: str
    truth: str
    said: tuple[Said, ...]


@dataclass(slots=True)
class Gallery:
    """What is shown.

    Attributes:
        cards: the chosen samples, kind by kind.
        pictures: each picture once, by the name under which the cards refer to it.
        samples: how many there are in all.
        counts: how many of them are of each kind, shown or not.
    """

    cards: list[Card] = field(default_factory=list)
    pictures: dict[str, Thumbnail] = field(default_factory=dict)
    samples: int = 0
    counts: dict[str, int] = field(default_factory=dict)


def gather(task: Task, rows: Sequence[Prediction]) -> list[Sample]:
    """The answers sample by sample, in the order of the rows; samples without both greedy answers are left out."""
    by_sample: dict[str, dict[tuple[str, str], Prediction]] = {}
    for row in rows:
        by_sample.setdefault(row.sample, {})[row.model, row.decoding] = row
    samples = []
    for number, answers in enumerate(by_sample.values(), start=1):
        tuned, base = answers.get(("tuned", "greedy")), answers.get(("base", "greedy"))
        if tuned is not None and base is not None:
            kinds = kinds_of(task, tuned, base)
            samples.append(Sample(number, kinds, tuned, base, answers.get(("tuned", "sampled"))))
    return samples


def kinds_of(task: Task, tuned: Prediction, base: Prediction) -> tuple[str, ...]:
    """What a sample is, the most telling first; broken and fixed are against the base model's answer."""
    right, before = is_right(task, tuned.scores), is_right(task, base.scores)
    kinds: list[str] = []
    if before and not right:
        kinds.append("broken")
    if tuned.answer is None:
        kinds.append("unreadable")
    if not right:
        kinds.append("wrong")
    if right and not before:
        kinds.append("fixed")
    if right:
        kinds.append("right")
    if tuned.cut_off:
        kinds.append("cut-off")
    return tuple(kinds)


def choose(samples: Sequence[Sample]) -> list[Sample]:
    """The order in which samples are taken in until the page is full: one of each kind in turn, each spread out."""
    by_kind = {kind: _spread([sample for sample in samples if sample.kinds[0] == kind]) for kind in KINDS}
    turns = itertools.zip_longest(*by_kind.values())
    return [sample for turn in turns for sample in turn if sample is not None]


def build_gallery(
    task: Task,
    rows: Sequence[Prediction],
    load: Callable[[str, str], Image.Image],
    largest: int,
    cost: Callable[[Card], int],
) -> Gallery:
    """Fills a gallery up to a size.

    Args:
        task: what the model does.
        rows: all predictions.
        load: the picture of a sample, by the sample's id and the picture's key.
        largest: bytes that cards and pictures may take together.
        cost: bytes that a card takes in the page, its pictures not counted.
    """
    samples = gather(task, rows)
    gallery = Gallery(samples=len(samples))
    gallery.counts = {kind: sum(kind in sample.kinds for sample in samples) for kind in (*KINDS, "cut-off")}
    spent = 0
    shown: list[tuple[int, Card]] = []
    for sample in choose(samples):
        if len(shown) >= MOST_CARDS:
            break
        pictures = _pictures(sample.tuned, gallery.pictures, load)
        new = {picture.name: picture for picture in pictures if picture.name not in gallery.pictures}
        card = _card(task, sample, pictures)
        price = cost(card) + sum(len(picture.uri) + 200 for picture in new.values())
        if spent + price > largest:
            break
        spent += price
        gallery.pictures.update(new)
        shown.append((KINDS.index(sample.kinds[0]), card))
    gallery.cards = [card for _, card in sorted(shown, key=lambda entry: (entry[0], entry[1].number))]
    return gallery


def _spread(samples: list[Sample]) -> list[Sample]:
    """The samples so that any beginning of the list is spread evenly over all of it (bit-reversed order)."""
    bits = max(1, (len(samples) - 1).bit_length())
    order = sorted(range(len(samples)), key=lambda position: int(f"{position:0{bits}b}"[::-1], 2))
    return [samples[position] for position in order]


def _pictures(
    row: Prediction, known: Mapping[str, Thumbnail], load: Callable[[str, str], Image.Image]
) -> tuple[Thumbnail, ...]:
    pictures = []
    by_key = {picture.name: picture for picture in known.values()}
    for key in row.images:
        name = _picture_name(key)
        if name in by_key:
            pictures.append(by_key[name])
            continue
        try:
            pictures.append(thumbnail(name, load(row.sample, key)))
        except (AirtuneError, OSError, ValueError):
            continue  # the report is about the answers: a picture that went away since is not worth failing for
    return tuple(pictures)


def _picture_name(key: str) -> str:
    import hashlib

    return f"picture-{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:16]}"


def _card(task: Task, sample: Sample, pictures: tuple[Thumbnail, ...]) -> Card:
    tuned, base, sampled = sample.tuned, sample.base, sample.sampled
    said = [_said(task, "trained", "tuned", tuned), _said(task, "base", "base", base)]
    if sampled is not None:
        said.insert(1, _said(task, "trained, as configured", "sampled", sampled))
    boxes: list[Box] = []
    if task is Task.PHRASE_GROUNDING and pictures:
        picture = pictures[0]
        for style, answer in (("truth", tuned.truth), ("base", base.answer), ("tuned", tuned.answer)):
            boxes.extend(_boxes(style, answer, picture)[:_MOST_BOXES])
    return Card(
        number=sample.number,
        name=visible(PurePosixPath(tuned.images[0]).name if tuned.images else tuned.sample, 80),
        kinds=sample.kinds,
        pictures=pictures,
        boxes=tuple(boxes),
        prompt=visible(tuned.prompt, _LONGEST_TEXT),
        truth=visible(_answer_text(task, tuned.truth), _LONGEST_TEXT),
        said=tuple(said),
    )


def _said(task: Task, who: str, style: str, row: Prediction) -> Said:
    notes = []
    if row.cut_off:
        notes.append(f"cut off after {row.tokens:,} tokens")
    if task is Task.PHRASE_GROUNDING:
        notes.append(f"{row.scores['hits']:g} of {row.scores['true_boxes']:g} boxes found")
        notes.append(f"IoU {row.scores['iou']:.2f}")
    if row.answer is None:
        answer, raw = visible(row.text, _LONGEST_TEXT) or "(nothing)", None
    else:
        answer, raw = visible(_answer_text(task, row.answer), _LONGEST_TEXT), visible(row.text, _LONGEST_TEXT)
    problem = visible(row.problem, 300) if row.problem else None
    shown_raw = raw if raw != answer else None
    return Said(who, style, answer, shown_raw, problem, is_right(task, row.scores), tuple(notes))


def _answer_text(task: Task, answer: Mapping[str, Any]) -> str:
    if task is Task.PHRASE_GROUNDING:
        phrases = [
            f"{grounding['phrase']} {json.dumps(grounding['boxes'], separators=(',', ':'))}"
            for grounding in answer["groundings"]
        ]
        return "\n".join([answer["sentence"], *phrases])
    return str(next(iter(answer.values()), ""))


def _boxes(style: str, answer: Mapping[str, Any] | None, picture: Thumbnail) -> list[Box]:
    if answer is None:
        return []
    across, down = picture.width / COORDINATE_RANGE, picture.height / COORDINATE_RANGE
    return [
        Box(
            style,
            round(box[0] * across, 1),
            round(box[1] * down, 1),
            round((box[2] - box[0]) * across, 1),
            round((box[3] - box[1]) * down, 1),
            visible(grounding["phrase"], 60),
        )
        for grounding in answer["groundings"]
        for box in grounding["boxes"]
    ]
