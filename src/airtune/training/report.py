"""What a run says at its beginning and writes at its end."""

from __future__ import annotations

import platform
from collections import Counter
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import torch

from airtune.runspec.resolved import ResolvedRun

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from airtune.training.selection import Selection
    from airtune.training.trainer import VisionLanguageTrainer

_PACKAGES: Final = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "safetensors")


def describe(run: ResolvedRun, arguments: TrainingArguments, chosen: Selection, total: int) -> list[str]:
    """Lines that say what is about to happen, and what to know about it."""
    device = arguments.device
    bits = f"{run.quantization_type}, computing in {run.precision}" if run.quantization_enabled else run.precision
    lengths = sorted(chosen.lengths.values())
    counts = f"{len(chosen.train):,} samples to train, {len(chosen.validation):,} to validate"
    lines = [
        f"{run.training_mode} of {run.base_model} ({run.architecture}) on {device.type}, {bits}",
        f"{counts}, of {lengths[0]} to {lengths[-1]} tokens each",
        f"{total:,} steps of {run.batch_size} x {run.gradient_accumulation} samples",
    ]
    if chosen.set_aside:
        reasons = Counter(each.reason for each in chosen.set_aside)
        said = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        lines.append(f"warning: {len(chosen.set_aside)} samples are set aside ({said}): training/set-aside.jsonl")
    if device.type == "cpu" and run.precision == "Float16":
        lines.append("warning: a CPU computes Float16, and scales its gradients, as asked, but several times slower")
    if device.type == "cpu" and run.precision == "BFloat16":
        lines.append("note: on a CPU without BFloat16 units this is up to three times slower than Float32")
    return lines


def result_of(
    run: ResolvedRun,
    trainer: VisionLanguageTrainer,
    check: dict[str, Any],
    chosen: Selection,
    total: int,
    resumed: int,
) -> dict[str, Any]:
    """The result's keys beside ``state`` and ``saved``."""
    state, evaluations = trainer.state, trainer.around.evaluations.rows
    device = trainer.args.device
    kept = trainer.best.step()
    return {
        "steps": int(state.global_step),
        "planned_steps": total,
        "epochs": round(float(state.epoch or 0.0), 4),
        "stopped_early": int(state.global_step) < total,
        "kept_step": int(state.global_step) if kept is None else kept,
        "final_loss": trainer.around.pace.last_loss,
        "validation_loss": evaluations[-1]["loss"] if evaluations else None,
        "seconds": round(trainer.around.pace.seconds, 3),
        "tokens": int(state.num_input_tokens_seen),
        "resumed_from": resumed or None,
        "samples": {
            "train": len(chosen.train),
            "validation": len(chosen.validation),
            "set_aside": len(chosen.set_aside),
        },
        "batching": trainer.around.remedies.batching.to_json(),
        "out_of_memory": trainer.around.remedies.taken,
        "trained_parameters": check["trained_parameters"],
        "seed": run.seed,
        # On the CPU the same seed and thread count give the same bits; GPU kernels add in any order.
        "deterministic": device.type == "cpu",
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "versions": {name: version(name) for name in _PACKAGES},
    }
