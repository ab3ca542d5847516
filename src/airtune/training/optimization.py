"""The optimizers, and what the library's trainer is told of a resolved run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import torch
from transformers import TrainingArguments, set_seed

from airtune.runspec.resolved import ResolvedRun
from airtune.training.accelerations import fused
from airtune.training.schedule import rate_factor, warmup_steps

OPTIMIZERS: Final[dict[str, type[torch.optim.Optimizer]]] = {"AdamW": torch.optim.AdamW, "Adam": torch.optim.Adam}
"""AdamW shrinks weights apart from the gradient (Loshchilov and Hutter 2019). Adam adds the decay to the gradient, as
L2 regularisation (Kingma and Ba 2015), where it goes through both moments: with weight decay the two really differ."""

BETAS: Final = (0.9, 0.999)
EPSILON: Final = 1e-8


def seed(run: ResolvedRun, *others: int) -> None:
    """Sets every random state from the run's seed: before adapters are made, so that they begin the same.

    Args:
        run: the resolved run.
        others: what else the states follow from, for example the process's number.
    """
    mixed = run.seed
    for number in others:
        mixed = mixed * 1_000_003 + number + 1
    set_seed(mixed % 2**32)


def optimizer_and_settings(
    run: ResolvedRun, device: torch.device
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """The optimizer's class and its settings; the weight decay is set per group of parameters by the trainer."""
    settings: dict[str, Any] = {"lr": run.learning_rate, "betas": BETAS, "eps": EPSILON}
    if fused(OPTIMIZERS[run.optimizer], device).used:
        settings["fused"] = True
    return OPTIMIZERS[run.optimizer], settings


def scheduler(run: ResolvedRun, optimizer: Any, total: int) -> torch.optim.lr_scheduler.LambdaLR:
    """The learning rate's schedule, see :func:`airtune.training.schedule.rate_factor`."""
    warmup = warmup_steps(run.warmup_ratio, total)

    def factor(step: int) -> float:
        return rate_factor(run.learning_rate_schedule, step, warmup=warmup, total=total)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def training_arguments(run: ResolvedRun, *, folder: Path) -> TrainingArguments:
    """What the library's trainer is told; what it would do by itself beyond the loop is off.

    Args:
        run: the resolved run.
        folder: where the trainer may write; it writes nothing of its own.
    """
    on_cpu = not torch.cuda.is_available() or os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    workers = 0 if on_cpu else min(8, max(1, (os.cpu_count() or 2) - 1))
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=run.epochs,
        per_device_train_batch_size=run.batch_size,
        per_device_eval_batch_size=run.batch_size,
        gradient_accumulation_steps=run.gradient_accumulation,
        learning_rate=run.learning_rate,
        weight_decay=run.weight_decay,
        max_grad_norm=run.max_grad_norm,
        bf16=run.precision == "BFloat16",
        fp16=run.precision == "Float16",
        seed=run.seed,
        use_cpu=on_cpu,
        logging_strategy="no",  # airtune's flow decides when a row of metrics is written
        logging_nan_inf_filter=False,  # would replace a loss that is not a number by a nicer one
        log_level="warning",
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",  # checkpoints are written by airtune's own trainer, atomically
        eval_strategy="no",
        prediction_loss_only=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_num_workers=workers,
        dataloader_pin_memory=not on_cpu,
        dataloader_persistent_workers=workers > 0,
        ddp_find_unused_parameters=False,
    )
