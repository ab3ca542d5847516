"""How long a run's samples and micro-batches are, in tokens, from the records and the pictures' sizes alone.

A packed micro-batch holds the system prompt once, each picture once, and every question and answer: the tokens of the
prefix tree of its samples. A padded one is as long as its longest sample, as often as it has samples.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from airtune.datasets.record import Record, Split
from airtune.resolution.data_facts import DataFacts
from airtune.resolution.film_tokens import FilmRule
from airtune.resolution.picture_sizes import Sizes
from airtune.resolution.picture_tokens import Picture, PictureRule
from airtune.resolution.text_tokens import TextRule
from airtune.runspec.resolved import ResolvedRun

ROW_COST: Final = 256
"""What a row costs before its first token, in tokens."""


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
    """The lengths of a split's samples, usually those of training.

    Attributes:
        system: tokens that every sample begins with.
        samples: in the order of their records.
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
    """What goes through the model in one pass.

    Attributes:
        rows: sequences side by side; 1 when packed.
        length: tokens of each of them.
        labels: tokens that are learned.
        patches: positions in the vision tower, of all its pictures together.
        largest_picture: of these, those of the largest picture.
        picture_tokens: places in the row that take what the tower sees.
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

    @property
    def pairs(self) -> int:
        """Pairs of tokens between which attention computes a score."""
        return self.rows * self.length**2


@dataclass(frozen=True)
class Packing:
    """How the samples of a micro-batch share rows; the rule of :mod:`airtune.training.packing`.

    Attributes:
        row_tokens: tokens that a row may have.
        pair_cost: what attention costs for each pair of tokens of a row, in tokens.
    """

    row_tokens: int = 16_384
    pair_cost: float = 0.0

    def cost(self, tokens: int) -> float:
        """What a row costs, in tokens."""
        return ROW_COST + tokens + self.pair_cost * tokens**2


@dataclass(frozen=True)
class Epoch:
    """The micro-batches of an epoch, added up.

    Attributes:
        micro_batches: how many.
        passes: how many rows (each a forward and a backward pass) they have.
        tokens: positions that are computed.
        tokens_padded: positions there would be without packing.
        pairs: see :attr:`Row.pairs`.
        labels: tokens that are learned.
        patches: positions in the vision tower.
        picture_tokens: places that take what the tower sees.
        largest: the row that needs most memory.
    """

    micro_batches: int
    passes: int
    tokens: int
    tokens_padded: int
    pairs: int
    labels: int
    patches: int
    picture_tokens: int
    largest: Row

    def to_json(self) -> dict[str, Any]:
        """For ``resolution.json``."""
        return {**asdict(self), "largest": {**asdict(self.largest), "tokens": self.largest.tokens}}


def lengths_of(
    records: Iterable[Record],
    run: ResolvedRun,
    texts: TextRule,
    pictures: PictureRule,
    films: FilmRule | None = None,
    sizes: Sizes | None = None,
    split: Split = "train",
) -> Lengths:
    """Counts the samples of one split.

    Args:
        records: of both splits.
        run: its system prompt and limits.
        texts: counts texts.
        pictures: counts pictures.
        films: counts videos; None: the records show none.
        sizes: of the pictures; one that is not among them counts as its sample's first one.
        split: which; its samples stay in the order of the records.
    """
    samples, sizes = [], sizes or {}
    exact = texts.exact
    for record in records:
        if record.split != split:
            continue
        first = (record.width, record.height)
        shown = [(digest, pictures(*sizes.get(digest, first)).within(texts)) for digest in record.image_digests]
        if record.video_digest is not None and films is not None:
            shown.append((record.video_digest, films(*first, record.frames, record.frame_rate)))
        exact = exact and all(picture.exact for _, picture in shown)
        question = texts(record.prompt) + texts.after
        samples.append(Sample(tuple(shown), question, texts(record.target) + texts.end))
    return Lengths(texts(run.system_prompt) + texts.before, tuple(samples), exact)


def guessed(data: DataFacts, run: ResolvedRun, texts: TextRule, pictures: PictureRule) -> Lengths:
    """Long samples, all alike, where only the dataset's facts are known."""
    edge = round((data.image_pixels or 0) ** 0.5)
    shown = [pictures(edge, edge).within(texts)] * data.images_per_sample if edge else []
    question = texts("x" * round(data.prompt_characters or 0)) + texts.after
    answer = texts("x" * round(data.target_characters or 0)) + texts.end
    shared = max(1, round(data.train_samples / max(1, data.train_images)))
    samples = tuple(
        Sample(tuple((f"{number // shared}.{place}", picture) for place, picture in enumerate(shown)), question, answer)
        for number in range(data.train_samples)
    )
    return Lengths(texts(run.system_prompt) + texts.before, samples, exact=False)


def epoch(lengths: Lengths, run: ResolvedRun, packing: Packing | None) -> Epoch:
    """The micro-batches of one epoch, drawn as training draws them: pictures in random order, their samples together.

    Args:
        lengths: of at least one sample.
        run: its batch size and its seed count.
        packing: how samples share rows; None: they do not, and a micro-batch is padded.
    """
    ordered = _ordered(lengths.samples, run, grouped=packing is not None)
    size = run.batch_size
    micro_batches = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    rows = [row for members in micro_batches for row in rows_of(lengths, members, packing)]
    return Epoch(
        micro_batches=len(micro_batches),
        passes=len(rows),
        tokens=sum(row.tokens for row in rows),
        tokens_padded=sum(len(members) * max(map(lengths.of, members)) for members in micro_batches),
        pairs=sum(row.pairs for row in rows),
        labels=sum(row.labels for row in rows),
        patches=sum(row.patches for row in rows),
        picture_tokens=sum(row.picture_tokens for row in rows),
        largest=largest(lengths, run, packing)[0],
    )


def largest(lengths: Lengths, run: ResolvedRun, packing: Packing | None) -> tuple[Row, int]:
    """The pass that needs most: of the longest samples together; packed, of those with the longest pictures.

    Returns:
        The row, and how many rows its micro-batch has.
    """
    if packing is None:
        return _row(lengths, sorted(lengths.samples, key=lengths.of)[-run.batch_size :], packed=False), 1
    groups = list(_groups(lengths.samples).values())
    groups.sort(key=lambda group: _row(lengths, group, packed=True).tokens / len(group), reverse=True)
    members = [sample for group in groups for sample in sorted(group, key=lengths.of, reverse=True)]
    rows = rows_of(lengths, members[: run.batch_size], packing)
    return max(rows, key=lambda row: row.tokens), len(rows)


def rows_of(lengths: Lengths, members: Sequence[Sample], packing: Packing | None) -> list[Row]:
    """The rows of one micro-batch: one padded, or as many packed ones as are cheapest."""
    if packing is None:
        return [_row(lengths, members, packed=False)]
    lines: list[list[Sample]] = []

    def tokens(line: Sequence[Sample]) -> int:
        return _row(lengths, line, packed=True).tokens

    for group in _groups(members).values():
        for part in [group] if tokens(group) <= packing.row_tokens else [[sample] for sample in group]:
            if lines and (together := tokens([*lines[-1], *part])) <= packing.row_tokens:
                apart = packing.cost(tokens(lines[-1])) + packing.cost(tokens(part))
                if packing.cost(together) <= apart:
                    lines[-1].extend(part)
                    continue
            lines.append(list(part))
    return [_row(lengths, line, packed=True) for line in lines]


def _row(lengths: Lengths, members: Sequence[Sample], *, packed: bool) -> Row:
    pictures: dict[str, Picture] = {}
    for sample in members:
        pictures.update(sample.pictures)
    places = {sample.names: sample.picture_tokens for sample in members}
    if packed:
        shown = sum(places.values())
        rows, length = 1, lengths.system + shown + sum(sample.question + sample.answer for sample in members)
    else:
        shown = sum(sample.picture_tokens for sample in members)
        rows, length = len(members), max(map(lengths.of, members))
    return Row(
        rows=rows,
        length=length,
        labels=sum(sample.answer for sample in members),
        patches=sum(picture.patches for picture in pictures.values()),
        largest_picture=max((picture.patches for picture in pictures.values()), default=0),
        picture_tokens=shown,
    )


def _ordered(samples: Sequence[Sample], run: ResolvedRun, *, grouped: bool) -> list[Sample]:
    if not run.shuffle:
        return list(samples)
    units = list(_groups(samples).values()) if grouped else [[sample] for sample in samples]
    random.Random(run.seed).shuffle(units)  # noqa: S311
    return [sample for unit in units for sample in unit]


def _groups(samples: Sequence[Sample]) -> dict[tuple[str, ...], list[Sample]]:
    """Samples by the pictures that they share."""
    groups: dict[tuple[str, ...], list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.names, []).append(sample)
    return groups


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
