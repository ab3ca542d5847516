"""What a dataset amounts to, in numbers: ``dataset/facts.json``, which the resolver and the reports read."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from airtune.datasets.assembly import Assembly
from airtune.datasets.counting import Counts
from airtune.datasets.pictures.image_facts import ImageFacts, Inspected
from airtune.datasets.pictures.videos import VideoFacts
from airtune.datasets.record import SPLITS

SCHEMA = 1


def facts_of(
    assembly: Assembly, inspected: Inspected, counted: Counts, *, root_uri: str, dataset_format: str, task: str
) -> dict[str, Any]:
    """The facts, ready for JSON; equal datasets have equal facts.

    Keys: ``root_uri``, ``format``, ``task``; ``samples``, ``images`` (distinct, by content; of a dataset of videos:
    videos) and both per split (``train_samples``, ``validation_images`` ...); ``samples_found`` = ``samples`` +
    ``set_aside``; ``set_aside_share``, ``set_aside_by_reason``; ``split`` (see
    :class:`airtune.datasets.splitting.split.SplitRule`);
    ``answer_characters``, ``target_characters``, ``prompt_characters``, ``image_width``, ``image_height``,
    ``image_pixels`` (each ``least``, ``mean``, ``median``, ``p95``, ``most``); ``images_per_sample``;
    ``longest_sample`` (``characters`` of question and answer, and which it is: ``id``, ``split``, ``source_file``,
    ``source_line``; None without samples);
    ``distinct_answers``, ``majority_answer`` (most frequent in training), ``majority_answer_share`` (of the
    validation samples: what always giving that answer would score), these three None for phrase-grounding;
    ``validation_unlike_training`` (see :attr:`airtune.datasets.counting.Counts.unlike`);
    ``answers_replaced`` (answers with characters that had to be replaced) and ``characters_replaced`` (in them all);
    ``control_tokens_escaped`` and ``boxes_repeated`` (``times``, and in how many ``samples``);
    ``image_changes`` (how many images needed what); ``fingerprint``; ``evaluation_set_digest``.
    """
    images = {facts.digest: facts for facts in inspected.values() if isinstance(facts, ImageFacts | VideoFacts)}
    used = sorted(set().union(*counted.images.values()))
    shown = [images[digest] for digest in used]
    validates = counted.samples["validation"]
    majority = counted.majority_answer if validates else None
    share = None if majority is None else round(counted.majority_validates / validates, 6)
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
        "answer_characters": spread_of(counted.characters["answer"]),
        "target_characters": spread_of(counted.characters["target"]),
        "prompt_characters": spread_of(counted.characters["prompt"]),
        "image_width": spread(facts.width for facts in shown),
        "image_height": spread(facts.height for facts in shown),
        "image_pixels": spread(facts.width * facts.height for facts in shown),
        "images_per_sample": counted.images_per_sample,
        "longest_sample": counted.longest,
        "distinct_answers": counted.distinct_answers,
        "majority_answer": majority,
        "majority_answer_share": share,
        "validation_unlike_training": counted.unlike,
        "answers_replaced": counted.changed["replaced"]["samples"],
        "characters_replaced": counted.changed["replaced"]["times"],
        "control_tokens_escaped": counted.changed["escaped"],
        "boxes_repeated": counted.changed["repeated_boxes"],
        "image_changes": dict(sorted(changes.items())),
        "fingerprint": counted.fingerprint,
        "evaluation_set_digest": counted.evaluation_set_digest,
    }


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
