"""What a run will take, before a GPU is taken: parameters trained, memory by part, steps, time, and whether it fits."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

from airtune.catalog.entry import CatalogEntry
from airtune.resolution.accelerators import find
from airtune.resolution.base_model import BaseModel
from airtune.resolution.device import Device
from airtune.resolution.lengths import Lengths, Packing, epoch, largest
from airtune.resolution.memory import Memory, memory
from airtune.resolution.pace import pace
from airtune.resolution.parameters import Counted, count
from airtune.resolution.shapes import head_dim, text_config
from airtune.resolution.verdict import COMFORT, judge
from airtune.runspec.resolved import ResolvedRun

NOT_KNOWN = "not known before the model is fetched"


def estimate(
    run: ResolvedRun, entry: CatalogEntry, base: BaseModel, lengths: Lengths, device: Device
) -> dict[str, Any]:
    """Everything that is predicted.

    Args:
        run: the resolved run.
        entry: its architecture.
        base: the base model.
        lengths: of the training samples.
        device: the GPU, if any.

    Returns:
        The keys ``micro_steps_per_epoch`` (of each device), ``steps_per_epoch``, ``steps`` (updates of the weights),
        ``effective_batch``; ``trained_parameters`` and ``parts`` (as in ``training/selfcheck.json``), or None;
        ``lengths``, ``epoch`` (see :class:`airtune.resolution.lengths.Epoch`), ``row_tokens`` (into how long rows
        training may pack samples on this GPU; None: memory does not limit them); ``memory``
        (see :class:`airtune.resolution.memory.Memory`), ``pace`` (see :class:`airtune.resolution.pace.Pace`) and
        ``verdict`` (see :class:`airtune.resolution.verdict.Verdict`), or None where the base model's parameters are
        not known, which ``missing`` then says.
    """
    found = lengths.within(run.max_sequence_length)
    micro_steps = math.ceil(len(found.samples) / (run.batch_size * run.devices))
    steps_per_epoch = math.ceil(len(found.samples) / run.effective_batch)
    result: dict[str, Any] = {
        "micro_steps_per_epoch": micro_steps,
        "steps_per_epoch": steps_per_epoch,
        "steps": steps_per_epoch * run.epochs,
        "effective_batch": run.effective_batch,
        "trained_parameters": None,
        "parts": None,
        "lengths": found.to_json(),
        "epoch": None,
        "row_tokens": None,
        "memory": None,
        "pace": None,
        "verdict": None,
        "missing": None if base.tensors else NOT_KNOWN,
    }
    if not base.tensors or not found.samples:
        return result
    counted = count(run, entry, base.tensors)
    packing = packing_of(entry, base, counted)
    packing = cut_rows(run, entry, base, found, packing, device.memory_gb)
    drawn = epoch(found, run, packing)
    gpu = find(device.name) if device.name else None
    on_gpu = device.memory_gb is not None

    def need(changed: ResolvedRun, memory_gb: float | None) -> int:
        cut = cut_rows(changed, entry, base, found, packing, memory_gb)
        asked = peak(changed, entry, base, found, cut, on_gpu=True)
        return asked.peak if asked is not None else 0

    predicted = peak(run, entry, base, found, packing, on_gpu=on_gpu)
    result |= {
        "trained_parameters": counted.trained,
        "parts": {part: asdict(numbers) for part, numbers in sorted(counted.parts.items())},
        "epoch": drawn.to_json(),
        "row_tokens": packing.row_tokens if packing is not None and on_gpu else None,
        "memory": predicted.to_json() if predicted is not None else None,
        "verdict": judge(run, entry, device.memory_gb, need).to_json(),
    }
    timed = None
    if not on_gpu or gpu is not None:
        timed = pace(run, entry, base, counted, drawn, gpu=gpu, steps=result["steps"], cached=_cached(run))
    result["pace"] = timed.to_json() if timed is not None else None
    return result


def packing_of(entry: CatalogEntry, base: BaseModel, counted: Counted) -> Packing | None:
    """How samples share rows on this architecture, with SDPA, which computes masked pairs too; None: not at all."""
    text = text_config(base.config)
    if not entry.packing or "num_attention_heads" not in text or "language" not in counted.parts:
        return None
    embeddings = int(base.vocabulary or 0) * int(base.hidden_size or 0)
    numbers = max(1, counted.parts["language"].parameters - embeddings)
    width = int(text["num_attention_heads"]) * head_dim(text)
    return Packing(pair_cost=2 * int(text["num_hidden_layers"]) * width / numbers)


def cut_rows(
    run: ResolvedRun,
    entry: CatalogEntry,
    base: BaseModel,
    lengths: Lengths,
    packing: Packing | None,
    memory_gb: float | None,
) -> Packing | None:
    """The same packing with rows short enough for a GPU, though never shorter than the longest sample."""
    if packing is None or memory_gb is None:
        return packing
    counted, longest = count(run, entry, base.tensors), max(map(lengths.of, lengths.samples))
    row, _ = largest(lengths, run, packing)
    tokens = max(longest, row.length)
    while tokens > longest:
        share = tokens / row.length
        tried = replace(row, length=tokens, labels=round(row.labels * share), patches=round(row.patches * share))
        asked = memory(run, entry, base, counted, tried, passes=2, on_gpu=True)
        if asked is None or asked.peak <= COMFORT * memory_gb * 1e9:
            break
        tokens = max(longest, tokens * 3 // 4)
    return packing if tokens >= row.length else replace(packing, row_tokens=tokens)


def peak(
    run: ResolvedRun, entry: CatalogEntry, base: BaseModel, lengths: Lengths, packing: Packing | None, *, on_gpu: bool
) -> Memory | None:
    """The memory of the dearest pass; None where the base model's parameters are not known."""
    if not base.tensors or not lengths.samples:
        return None
    counted = count(run, entry, base.tensors)
    dearest, rows = largest(lengths, run, packing)
    return memory(
        run,
        entry,
        base,
        counted,
        dearest,
        passes=rows * run.gradient_accumulation,
        on_gpu=on_gpu,
        shards=run.devices,
    )


def _cached(run: ResolvedRun) -> bool:
    """Whether what a frozen vision tower sees is kept between epochs."""
    return run.training_mode == "LoRA"
