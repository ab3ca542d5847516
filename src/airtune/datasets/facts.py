"""What a dataset amounts to, in numbers: ``dataset/facts.json``, which the resolver and the reports read."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from airtune.datasets.assembly import Assembly
from airtune.datasets.draft import NO_FAULT
from airtune.datasets.expectations import answer_of
from airtune.datasets.fingerprint import fingerprint
from airtune.datasets.inspection import ImageFacts, Inspected
from airtune.datasets.record import SPLITS, Record
from airtune.datasets.videos import VideoFacts

SCHEMA = 1


def facts_of(
    assembly: Assembly, inspected: Inspected, *, root_uri: str, dataset_format: str, task: str
) -> dict[str, Any]:
    """The facts, ready for JSON; equal datasets have equal facts.

    Keys: ``root_uri``, ``format``, ``task``; ``samples``, ``images`` (distinct, by content; of a dataset of videos:
    videos) and both per split (``train_samples``, ``validation_images`` ...); ``samples_found`` = ``samples`` +
    ``set_aside``; ``set_aside_share``, ``set_aside_by_reason``; ``split`` (``how``, ``ratio``);
    ``answer_characters``, ``target_characters``, ``prompt_characters``, ``image_width``, ``image_height``,
    ``image_pixels`` (each ``least``, ``mean``, ``median``, ``p95``, ``most``); ``images_per_sample``;
    ``distinct_answers``, ``majority_answer`` (most frequent in training), ``majority_answer_share`` (of the
    validation samples: what always giving that answer would score), these three None for phrase-grounding;
    ``answers_replaced``; ``control_tokens_escaped`` and ``boxes_repeated`` (``times``, and in how many ``samples``);
    ``image_changes`` (how many images needed what); ``fingerprint``;
    ``evaluation_set_digest``.
    """
    records = assembly.records
    by_split = {split: [record for record in records if record.split == split] for split in SPLITS}
    answers = [answer for record in records if (answer := _answer(record)) is not None]
    majority, share = _majority(by_split["train"], by_split["validation"])
    used = {digest for record in records for digest in record.shown}
    images = {facts.digest: facts for facts in inspected.values() if isinstance(facts, ImageFacts | VideoFacts)}
    shown = [images[digest] for digest in sorted(used)]
    reasons = Counter(row.reason for row in assembly.set_aside)
    return {
        "schema": SCHEMA,
        "root_uri": root_uri,
        "format": dataset_format,
        "task": task,
        "samples": len(records),
        "images": len(used),
        **{f"{split}_samples": len(by_split[split]) for split in SPLITS},
        **{f"{split}_images": _distinct_images(by_split[split]) for split in SPLITS},
        "samples_found": len(records) + len(assembly.set_aside),
        "set_aside": len(assembly.set_aside),
        "set_aside_share": set_aside_share(assembly),
        "set_aside_by_reason": dict(sorted(reasons.items())),
        "split": {"how": assembly.rule.how, "ratio": assembly.rule.ratio},
        "answer_characters": spread(map(len, answers)) if answers else None,
        "target_characters": spread(len(record.target) for record in records),
        "prompt_characters": spread(len(record.prompt) for record in records),
        "image_width": spread(facts.width for facts in shown),
        "image_height": spread(facts.height for facts in shown),
        "image_pixels": spread(facts.width * facts.height for facts in shown),
        "images_per_sample": max((len(record.images) for record in records), default=0),
        "distinct_answers": len(set(answers)) if answers else None,
        "majority_answer": majority,
        "majority_answer_share": share,
        "answers_replaced": len(assembly.replaced),
        "control_tokens_escaped": _changes(record.escaped for record in records),
        "boxes_repeated": _changes(record.repeated_boxes for record in records),
        "image_changes": dict(
            sorted(
                Counter(change for facts in shown if isinstance(facts, ImageFacts) for change in facts.changes).items()
            )
        ),
        "fingerprint": fingerprint(record.digest for record in records),
        "evaluation_set_digest": fingerprint(record.digest for record in by_split["validation"]),
    }


def set_aside_share(assembly: Assembly) -> float:
    """Samples set aside over samples found, without those that are no fault of the data."""
    aside = sum(row.reason not in NO_FAULT for row in assembly.set_aside)
    found = len(assembly.records) + aside
    return aside / found if found else 0.0


def spread(values: Iterable[int]) -> dict[str, float] | None:
    """Least, mean, median, 95th percentile (nearest rank) and most; None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    return {
        "least": ordered[0],
        "mean": round(sum(ordered) / len(ordered), 3),
        "median": ordered[(len(ordered) - 1) // 2],
        "p95": ordered[math.ceil(0.95 * len(ordered)) - 1],
        "most": ordered[-1],
    }


def _changes(counts: Iterable[int]) -> dict[str, int]:
    changed = [count for count in counts if count]
    return {"times": sum(changed), "samples": len(changed)}


def _answer(record: Record) -> str | None:
    return answer_of(json.loads(record.truth))


def _majority(train: Sequence[Record], validation: Sequence[Record]) -> tuple[str | None, float | None]:
    counts = Counter(answer for record in train if (answer := _answer(record)) is not None)
    if not counts or not validation:
        return None, None
    majority = min(counts, key=lambda answer: (-counts[answer], answer))
    hits = sum(_answer(record) == majority for record in validation)
    return majority, round(hits / len(validation), 6)


def _distinct_images(records: Sequence[Record]) -> int:
    return len({digest for record in records for digest in record.shown})
