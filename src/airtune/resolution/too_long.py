"""Samples that are longer than the model can take: found before a GPU is taken, named, and never cut off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from airtune.datasets.record import Record, Split
from airtune.errors import DataError, Problem
from airtune.resolution.lengths import Lengths
from airtune.runspec.resolved import ResolvedRun

NAMED: Final = 20
"""How many of them are named."""

_MARKS: Final = 3
"""Tokens that a chat template writes around a picture. Texts around samples are counted with the most pictures that any
sample has, so a sample with fewer may be this much shorter for each that it lacks."""


def too_long(
    records: Iterable[Record], measured: Mapping[Split, Lengths], run: ResolvedRun, *, context: int | None, images: int
) -> dict[str, Any] | None:
    """What of a dataset does not fit.

    Args:
        records: of both splits.
        measured: by split, the lengths of its records in their order.
        run: its ``max_sequence_length``.
        context: tokens that the model can take; None when it does not say.
        images: most pictures that a sample has.

    Returns:
        None when everything fits; else ``limit`` (tokens that are taken), ``chosen`` (whether the run's own limit sets
        them aside, instead of the model's refusing them), ``exact`` (whether lengths were counted and not guessed),
        ``train`` and ``validation`` (how many samples), ``left`` (training samples that fit) and ``longest`` (the first
        few, each with ``source_file``, ``source_line`` and ``tokens``).
    """
    limits = [limit for limit in (run.max_sequence_length, context) if limit is not None]
    if not limits:
        return None
    limit = min(limits)
    samples = {split: iter(lengths.samples) for split, lengths in measured.items()}
    counts: Counter[str] = Counter()
    named: list[dict[str, Any]] = []
    left = 0
    for record in records:
        tokens = measured[record.split].of(next(samples[record.split]))
        tokens -= _MARKS * max(0, images - len(record.images))
        if tokens <= limit:
            left += record.split == "train"
            continue
        counts[record.split] += 1
        if len(named) < NAMED:
            place = {"source_file": record.source_file, "source_line": record.source_line}
            named.append({**place, "split": record.split, "tokens": tokens})
    if not counts:
        return None
    return {
        "limit": limit,
        "chosen": run.max_sequence_length not in (None, context),
        "exact": all(lengths.exact for lengths in measured.values()),
        "train": counts["train"],
        "validation": counts["validation"],
        "left": left,
        "longest": named,
    }


def refuse(found: Mapping[str, Any] | None) -> None:
    """Stops a run whose samples do not fit its model, or of which none is left to train.

    Lengths that were guessed refuse nothing: training counts them, with the model's tokenizer at hand.

    Raises:
        DataError: samples are named with their places.
    """
    if found is None or not found["exact"] or (found["chosen"] and found["left"]):
        return
    count, limit = found["train"] + found["validation"], found["limit"]
    if not found["left"]:
        said = f"no training sample is left: none of the {found['train']} has {limit} tokens or fewer"
        fix = "lower maxPixels, shorten their texts, or raise maxSequenceLength"
    else:
        said = f"{count} samples do not fit the model, which takes {limit} tokens"
        fix = f"lower maxPixels, shorten their texts, or set maxSequenceLength below {limit} to set them aside"
    places = [
        Problem(_place(each), f"{each['tokens']} tokens, and at most {limit} are taken") for each in found["longest"]
    ]
    raise DataError([Problem("dataset", said, fix=fix), *places])


def in_words(found: Mapping[str, Any] | None) -> list[str]:
    """The same as a warning, for a run that goes on."""
    if found is None:
        return []
    count, limit = found["train"] + found["validation"], found["limit"]
    some = ", ".join(f"{_place(each)} ({each['tokens']})" for each in found["longest"][:3])
    more = " …" if count > 3 else ""
    if not found["exact"]:
        said = f"{count} samples may have more than the {limit} tokens that are taken (guessed from their characters)"
        return [f"{said}: {some}{more}. Training counts them, and refuses those that do not fit."]
    return [f"{count} samples have more than {limit} tokens, and training sets them aside: {some}{more}."]


def _place(each: Mapping[str, Any]) -> str:
    return f"{each['source_file']}:{each['source_line']}"
