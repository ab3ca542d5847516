"""How long a run's samples and micro-batches are, in tokens, from the records and the pictures' sizes alone.

A packed micro-batch holds the system prompt once, each picture once, and every question and answer: the tokens of the
prefix tree of its samples. A padded one is as long as its longest sample, as often as it has samples.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from airtune.datasets.record import Record
from airtune.resolution.data_facts import DataFacts
from airtune.resolution.picture_tokens import Picture, PictureRule
from airtune.resolution.text_tokens import TextRule
from airtune.runspec.resolved import ResolvedRun


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample's lengths.

    Attributes:
        pictures: its pictures, each with the name under which others may share it.
        question: tokens after the pictures and before the answer.
        answer: tokens that are learned.
    """

    pictures: tuple[tuple[str, Picture], ...]
    question: int
    answer: int

    @property
    def names(self) -> tuple[str, ...]:
        """Which pictures it shows."""
        return tuple(name for name, _ in self.pictures)

    @property
    def picture_tokens(self) -> int:
        """Of all its pictures."""
        return sum(picture.tokens for _, picture in self.pictures)


@dataclass(frozen=True)
class Lengths:
    """The lengths of a run's training samples.

    Attributes:
        system: tokens that every sample begins with.
        samples: the training samples.
        exact: whether they were counted (by the model's own tokenizer and its processor's arithmetic) and not guessed.
    """

    system: int
    samples: tuple[Sample, ...]
    exact: bool

    def of(self, sample: Sample) -> int:
        """Tokens of one sample."""
        return self.system + sample.picture_tokens + sample.question + sample.answer

    def within(self, longest: int | None) -> Lengths:
        """Without the samples that training sets aside because they are longer."""
        if longest is None:
            return self
        kept = tuple(sample for sample in self.samples if self.of(sample) <= longest)
        return Lengths(self.system, kept, self.exact)

    def to_json(self) -> dict[str, Any]:
        """Their spread, for ``resolution.json``."""
        whole = [self.of(sample) for sample in self.samples]
        pictures = {name for sample in self.samples for name in sample.names}
        return {
            "exact": self.exact,
            "system_tokens": self.system,
            "tokens": _spread(whole),
            "label_tokens": _spread([sample.answer for sample in self.samples]),
            "picture_tokens": _spread([picture.tokens for sample in self.samples for _, picture in sample.pictures]),
            "questions_a_picture": round(len(self.samples) / len(pictures), 2) if pictures else None,
        }


@dataclass(frozen=True)
class Row:
    """One micro-batch, as it goes through the model.

    Attributes:
        rows: sequences side by side; 1 when packed.
        length: tokens of each of them.
        labels: tokens that are learned.
        patches: positions in the vision tower, of all its pictures together.
        largest_picture: of these, those of the largest picture.
        picture_tokens: places in the rows that take what the tower sees.
    """

    rows: int
    length: int
    labels: int
    patches: int
    largest_picture: int
    picture_tokens: int

    @property
    def tokens(self) -> int:
        """Positions that are computed."""
        return self.rows * self.length


@dataclass(frozen=True)
class Batches:
    """The micro-batches of an epoch.

    Attributes:
        mean: of all of them.
        largest: the one that needs most memory.
        count: how many an epoch has.
        tokens_padded: tokens an epoch would have without packing.
        tokens: tokens it has.
    """

    mean: Row
    largest: Row
    count: int
    tokens: int
    tokens_padded: int

    def to_json(self) -> dict[str, Any]:
        """For ``resolution.json``."""
        return asdict(self)


def lengths_of(records: Iterable[Record], run: ResolvedRun, texts: TextRule, pictures: PictureRule) -> Lengths:
    """Counts the training samples.

    Args:
        records: of both splits.
        run: its system prompt and limits.
        texts: counts texts.
        pictures: counts pictures.
    """
    samples = []
    exact = texts.exact
    for record in records:
        if record.split != "train":
            continue
        shown = [(digest, pictures(record.width, record.height)) for digest in record.image_digests]
        exact = exact and all(picture.exact for _, picture in shown)
        # The placeholder that the chat template writes for each picture becomes the picture's tokens.
        question = texts(record.prompt) + texts.around - len(shown)
        samples.append(Sample(tuple(shown), question, texts(record.target) + texts.end))
    return Lengths(texts(run.system_prompt), tuple(samples), exact)


def guessed(data: DataFacts, run: ResolvedRun, texts: TextRule, pictures: PictureRule) -> Lengths:
    """Long samples, all alike, where only the dataset's facts are known."""
    edge = round((data.image_pixels or 0) ** 0.5)
    shown = [pictures(edge, edge)] * data.images_per_sample if edge else []
    question = texts("x" * round(data.prompt_characters or 0)) + texts.around - len(shown)
    answer = texts("x" * round(data.target_characters or 0)) + texts.end
    shared = max(1, round(data.train_samples / max(1, data.train_images)))
    samples = tuple(
        Sample(tuple((f"{number // shared}.{place}", picture) for place, picture in enumerate(shown)), question, answer)
        for number in range(data.train_samples)
    )
    return Lengths(texts(run.system_prompt), samples, exact=False)


def batches(lengths: Lengths, run: ResolvedRun, *, packing: bool, seed: int = 0) -> Batches:
    """The micro-batches of one epoch, drawn as training draws them: pictures in random order, their samples together.

    Args:
        lengths: of at least one sample.
        run: its batch size counts.
        packing: whether the samples of a micro-batch share a row.
        seed: of the order.
    """
    ordered = list(_ordered(lengths.samples, random.Random(seed) if run.shuffle else None, grouped=packing))  # noqa: S311
    size = run.batch_size
    made, padded_tokens = [], 0
    for start in range(0, len(ordered), size):
        members = ordered[start : start + size]
        padded_tokens += len(members) * max(map(lengths.of, members))
        made.append(_row(lengths, members, packing=packing))
    mean = Row(*(round(sum(values) / len(made)) for values in zip(*map(_values, made), strict=True)))
    return Batches(
        mean=mean if packing else Row(mean.rows, mean.length, *_values(mean)[2:]),
        largest=largest(lengths, run, packing=packing),
        count=len(made),
        tokens=sum(row.tokens for row in made),
        tokens_padded=padded_tokens,
    )


def largest(lengths: Lengths, run: ResolvedRun, *, packing: bool) -> Row:
    """The micro-batch that needs most: the longest samples together; packed, those of the longest pictures."""
    if not packing:
        return _row(lengths, sorted(lengths.samples, key=lengths.of)[-run.batch_size :], packing=False)
    groups = list(_groups(lengths.samples).values())
    groups.sort(key=lambda group: _row(lengths, group, packing=True).tokens / len(group), reverse=True)
    members = [sample for group in groups for sample in sorted(group, key=lengths.of, reverse=True)]
    return _row(lengths, members[: run.batch_size], packing=True)


def _row(lengths: Lengths, members: Sequence[Sample], *, packing: bool) -> Row:
    pictures: dict[str, Picture] = {}
    places = 0
    for sample in members:
        pictures.update(sample.pictures)
        places += sample.picture_tokens
    if packing:
        prefixes = {sample.names: sample.picture_tokens for sample in members}
        places = sum(prefixes.values())
        rows, length = 1, lengths.system + places + sum(sample.question + sample.answer for sample in members)
    else:
        rows, length = len(members), max(map(lengths.of, members))
    return Row(
        rows=rows,
        length=length,
        labels=sum(sample.answer for sample in members),
        patches=sum(picture.patches for picture in pictures.values()),
        largest_picture=max((picture.patches for picture in pictures.values()), default=0),
        picture_tokens=places,
    )


def _ordered(samples: Sequence[Sample], order: random.Random | None, *, grouped: bool) -> Iterator[Sample]:
    listed = list(_groups(samples).values()) if grouped else [[sample] for sample in samples]
    if order is not None:
        order.shuffle(listed)
    for group in listed:
        yield from group


def _groups(samples: Sequence[Sample]) -> dict[tuple[str, ...], list[Sample]]:
    """Samples by the pictures that they share."""
    groups: dict[tuple[str, ...], list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.names, []).append(sample)
    return groups


def _values(row: Row) -> tuple[int, ...]:
    return row.rows, row.length, row.labels, row.patches, row.largest_picture, row.picture_tokens


def _spread(values: Sequence[int]) -> dict[str, float] | None:
    if not values:
        return None
    ordered = sorted(values)
    return {
        "least": ordered[0],
        "mean": round(sum(ordered) / len(ordered), 1),
        "p95": ordered[min(len(ordered) - 1, -(-95 * len(ordered) // 100) - 1)],
        "most": ordered[-1],
    }
