"""What a dataset amounts to, in numbers: ``dataset/facts.json``, which the resolver and the reports read."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from airtune.datasets.assembly import Assembly
from airtune.datasets.fingerprint import fingerprint
from airtune.datasets.image_facts import ImageFacts, Inspected
from airtune.datasets.record import SPLITS
from airtune.datasets.record_batch import answer_of
from airtune.datasets.record_table import RecordTable
from airtune.datasets.videos import VideoFacts

SCHEMA = 1

_CHANGED = ("replaced", "escaped", "repeated_boxes")
_OF_LONGEST = ("id", "split", "source_file", "source_line")
_READ = ("images", "image_digests", "video_digest", "prompt", "target", "truth", *_OF_LONGEST, *_CHANGED)


def facts_of(
    assembly: Assembly, inspected: Inspected, *, root_uri: str, dataset_format: str, task: str
) -> dict[str, Any]:
    """The facts, ready for JSON; equal datasets have equal facts.

    Keys: ``root_uri``, ``format``, ``task``; ``samples``, ``images`` (distinct, by content; of a dataset of videos:
    videos) and both per split (``train_samples``, ``validation_images`` ...); ``samples_found`` = ``samples`` +
    ``set_aside``; ``set_aside_share``, ``set_aside_by_reason``; ``split`` (see
    :class:`airtune.datasets.split.SplitRule`);
    ``answer_characters``, ``target_characters``, ``prompt_characters``, ``image_width``, ``image_height``,
    ``image_pixels`` (each ``least``, ``mean``, ``median``, ``p95``, ``most``); ``images_per_sample``;
    ``longest_sample`` (``characters`` of question and answer, and which it is: ``id``, ``split``, ``source_file``,
    ``source_line``; None without samples);
    ``distinct_answers``, ``majority_answer`` (most frequent in training), ``majority_answer_share`` (of the
    validation samples: what always giving that answer would score), these three None for phrase-grounding;
    ``answers_replaced`` (answers with characters that had to be replaced) and ``characters_replaced`` (in them all);
    ``control_tokens_escaped`` and ``boxes_repeated`` (``times``, and in how many ``samples``);
    ``image_changes`` (how many images needed what); ``fingerprint``; ``evaluation_set_digest``.
    """
    counted = _Counted()
    for batch in assembly.records.batches(_READ):
        counted.add(batch)
    images = {facts.digest: facts for facts in inspected.values() if isinstance(facts, ImageFacts | VideoFacts)}
    used = sorted(set().union(*counted.images.values()))
    shown = [images[digest] for digest in used]
    majority, share = counted.majority()
    samples, aside = len(assembly.records), assembly.aside
    changes = Counter(change for facts in shown if isinstance(facts, ImageFacts) for change in facts.changes)
    return {
        "schema": SCHEMA,
        "root_uri": root_uri,
        "format": dataset_format,
        "task": task,
        "samples": samples,
        "images": len(used),
        **{f"{split}_samples": counted.samples[split] for split in SPLITS},
        **{f"{split}_images": len(counted.images[split]) for split in SPLITS},
        "samples_found": samples + len(aside),
        "set_aside": len(aside),
        "set_aside_share": set_aside_share(assembly),
        "set_aside_by_reason": dict(sorted(aside.by_reason.items())),
        "split": dataclasses.asdict(assembly.rule),
        "answer_characters": spread_of(counted.answer_characters),
        "target_characters": spread_of(counted.target_characters),
        "prompt_characters": spread_of(counted.prompt_characters),
        "image_width": spread(facts.width for facts in shown),
        "image_height": spread(facts.height for facts in shown),
        "image_pixels": spread(facts.width * facts.height for facts in shown),
        "images_per_sample": counted.images_per_sample,
        "longest_sample": counted.longest,
        "distinct_answers": len(counted.answers["train"].keys() | counted.answers["validation"].keys()) or None,
        "majority_answer": majority,
        "majority_answer_share": share,
        "answers_replaced": counted.changed["replaced"]["samples"],
        "characters_replaced": counted.changed["replaced"]["times"],
        "control_tokens_escaped": counted.changed["escaped"],
        "boxes_repeated": counted.changed["repeated_boxes"],
        "image_changes": dict(sorted(changes.items())),
        "fingerprint": fingerprint(_digests(assembly.records)),
        "evaluation_set_digest": fingerprint(_digests(assembly.records, "validation")),
    }


class _Counted:
    """What one look over all records counts."""

    def __init__(self) -> None:
        self.samples: Counter[str] = Counter()
        self.images: dict[str, set[str]] = {split: set() for split in SPLITS}
        self.images_per_sample = 0
        self.answers: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
        self.answer_characters: Counter[int] = Counter()
        self.target_characters: Counter[int] = Counter()
        self.prompt_characters: Counter[int] = Counter()
        self.longest: dict[str, Any] | None = None
        self.changed = {name: {"times": 0, "samples": 0} for name in _CHANGED}

    def add(self, batch: Any) -> None:
        import pyarrow.compute as pc

        targets, prompts = pc.utf8_length(batch["target"]), pc.utf8_length(batch["prompt"])
        self.target_characters.update(targets.to_pylist())
        self.prompt_characters.update(prompts.to_pylist())
        self._longest(batch, pc.add(prompts, targets))
        self.images_per_sample = max(self.images_per_sample, pc.max(pc.list_value_length(batch["images"])).as_py())
        for name, changed in self.changed.items():
            changed["times"] += pc.sum(batch[name]).as_py()
            changed["samples"] += pc.sum(pc.greater(batch[name], 0)).as_py()
        for split in SPLITS:
            rows = batch.filter(pc.equal(batch["split"], split))
            self.samples[split] += rows.num_rows
            self.images[split].update(rows["image_digests"].flatten().unique().to_pylist())
            self.images[split].update(rows["video_digest"].drop_null().unique().to_pylist())
            answers = [answer for truth in rows["truth"].to_pylist() if (answer := answer_of(json.loads(truth)))]
            self.answers[split].update(answers)
            self.answer_characters.update(map(len, answers))

    def _longest(self, batch: Any, characters: Any) -> None:
        import pyarrow.compute as pc

        most = pc.max(characters)
        if self.longest is None or most.as_py() > self.longest["characters"]:
            row = pc.index(characters, most).as_py()
            self.longest = {"characters": most.as_py(), **{name: batch[name][row].as_py() for name in _OF_LONGEST}}

    def majority(self) -> tuple[str | None, float | None]:
        train, validation = self.answers["train"], self.answers["validation"]
        if not train or not self.samples["validation"]:
            return None, None
        majority = min(train, key=lambda answer: (-train[answer], answer))
        return majority, round(validation[majority] / self.samples["validation"], 6)


def _digests(records: RecordTable, split: str | None = None) -> Iterator[str]:
    for batch in records.batches(["digest"], split):
        yield from batch["digest"].to_pylist()


def set_aside_share(assembly: Assembly) -> float:
    """Samples set aside over samples found, without those that are no fault of the data."""
    found = len(assembly.records) + assembly.aside.faults
    return assembly.aside.faults / found if found else 0.0


def spread(values: Iterable[int]) -> dict[str, float] | None:
    """Least, mean, median, 95th percentile (nearest rank) and most; None of nothing."""
    return spread_of(Counter(values))


def spread_of(counts: Mapping[int, int]) -> dict[str, float] | None:
    """The same of values that were counted: value -> how often."""
    total = sum(counts.values())
    if not total:
        return None
    ordered = sorted(counts)
    return {
        "least": ordered[0],
        "mean": round(sum(value * count for value, count in counts.items()) / total, 3),
        "median": _ranked(counts, (total - 1) // 2),
        "p95": _ranked(counts, math.ceil(0.95 * total) - 1),
        "most": ordered[-1],
    }


def _ranked(counts: Mapping[int, int], rank: int) -> int:
    """The value at a rank (from 0) of all values in their order."""
    below = 0
    for value in sorted(counts):
        below += counts[value]
        if below > rank:
            return value
    raise IndexError(rank)
