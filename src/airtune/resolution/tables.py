"""What airtune fills in where a run.json leaves a setting open: the platform's tables, each with its reason.

Every function returns the value and one sentence that says why.
"""

from __future__ import annotations

import math
from typing import Final

from airtune.catalog.entry import LARGE, MEDIUM, SMALL
from airtune.runspec.resolved import TrainingMode
from airtune.runspec.tasks import Task

EFFECTIVE_BATCH: Final = 8
"""What batch size times gradient accumulation times devices is brought to."""

LARGEST_PICTURE: Final = 1_048_576
"""Pixels (1024 x 1024) to which larger pictures are scaled down, unless told otherwise."""

_LEARNING_RATE: Final = {
    ("LoRA", SMALL): 1e-4,
    ("LoRA", MEDIUM): 1e-4,
    ("LoRA", LARGE): 5e-5,
    ("SFT", SMALL): 5e-5,
    ("SFT", MEDIUM): 3e-5,
    ("SFT", LARGE): 1e-5,
}
# Per memory class: (batch size, gradient accumulation). Below 16 GB as the profile for 8 to 16 GB has it.
_BATCH: Final = {
    SMALL: {8: (2, 4), 16: (8, 1), 24: (16, 1), 40: (32, 1)},
    MEDIUM: {8: (1, 8), 16: (2, 4), 24: (4, 2), 40: (8, 1)},
    LARGE: {8: (1, 8), 16: (1, 8), 24: (2, 4), 40: (4, 2)},
}
_NEW_TOKENS: Final = {Task.PHRASE_GROUNDING: 512, Task.VQA: 256, Task.FREEFORM: 512, Task.VIDEO_FREEFORM: 512}
_MOST_NEW_TOKENS: Final = 4096
_ROOM: Final = 2
"""How much longer than a long answer of the data an answer may be."""
# Pessimistic. Boxes are digits and brackets, most of which are tokens of their own; JSON around a text counts as text.
_CHARACTERS_A_TOKEN: Final = {Task.PHRASE_GROUNDING: 1.5, Task.VQA: 2.5, Task.FREEFORM: 2.5, Task.VIDEO_FREEFORM: 2.5}
_TEMPERATURE: Final = {Task.PHRASE_GROUNDING: 1.0, Task.VQA: 0.7, Task.FREEFORM: 1.0, Task.VIDEO_FREEFORM: 1.0}


def epochs(train_images: int) -> tuple[int, str]:
    """By the number of training images."""
    if train_images < 100:
        return 150, f"{train_images} training images are fewer than 100"
    if train_images <= 1000:
        return 100, f"{train_images} training images are between 100 and 1,000"
    return 50, f"{train_images} training images are more than 1,000"


def learning_rate(mode: TrainingMode, band: str) -> tuple[float, str]:
    """By size and training mode."""
    return _LEARNING_RATE[mode, band], f"the rate for {mode} on a {band.lower()} model"


def memory_class(memory_gb: float | None) -> int:
    """The column of the tables for a GPU: 8, 16, 24 or 40 (and more) GB; 16 without a GPU.

    A card sold with 16 GB reports 15 to 17, one with 24 GB 23.6 to 25.8: hence the margins.
    """
    if memory_gb is None:
        return 16
    return 40 if memory_gb >= 38 else 24 if memory_gb >= 22 else 16 if memory_gb >= 14.5 else 8


def batch_size(band: str, memory_gb: float | None) -> tuple[int, str]:
    """By size and GPU memory."""
    column = memory_class(memory_gb)
    seen = f"a GPU with {memory_gb:g} GB" if memory_gb is not None else "no GPU known, so as for 16 GB"
    return _BATCH[band][column][0], f"a {band.lower()} model and {seen}"


def gradient_accumulation(batch: int, devices: int = 1) -> tuple[int, str]:
    """What brings the effective batch, over all devices, to 8."""
    steps = max(1, EFFECTIVE_BATCH // (batch * devices))
    where = f" on each of {devices} devices" if devices > 1 else ""
    return steps, f"brings a batch of {batch}{where} to an effective batch of {steps * batch * devices}"


def max_new_tokens(task: Task, longest_target: float | None) -> tuple[int, str]:
    """By task, and more where a long answer of the data needs more; for generic by the data alone.

    Args:
        task: the task.
        longest_target: 95th percentile of the answers' lengths in characters; None when unknown.
    """
    if longest_target is None:
        if task in _NEW_TOKENS:
            return _NEW_TOKENS[task], f"the usual length for {task.value}"
        return 512, "nothing is known about the answers' lengths"
    needed = _ROOM * longest_target / _CHARACTERS_A_TOKEN.get(task, 2)
    tokens = min(_MOST_NEW_TOKENS, max(128, 64 * math.ceil(needed / 64)))
    usual = _NEW_TOKENS.get(task)
    if usual is None:
        return tokens, f"twice the length of a long answer in the data ({longest_target:g} characters)"
    if tokens <= usual:
        return usual, f"the usual length for {task.value}"
    return tokens, f"a long answer in the data ({longest_target:g} characters) needs more than is usual ({usual})"


def temperature(task: Task) -> tuple[float, str]:
    """By task."""
    return _TEMPERATURE.get(task, 0.7), f"the usual value for {task.value}"


def early_stopping_patience(run_epochs: int, validation_samples: int) -> tuple[int, str]:
    """Epochs without a better validation loss after which training ends; 0 is never."""
    if validation_samples == 0:
        return 0, "there are no validation samples to watch"
    if run_epochs <= 30:
        return 0, f"{run_epochs} epochs are too few to stop early"
    return 15, "validation that is flat for 10 to 20 epochs does not get better"


def max_pixels(own_limit: int | None) -> tuple[int | None, str]:
    """The base model's own limit, but at most 1024 x 1024; None where its processor knows no area."""
    if own_limit is None:
        return None, "the base model's processor scales pictures in its own way"
    if own_limit <= LARGEST_PICTURE:
        return own_limit, "the limit of the base model's processor"
    return LARGEST_PICTURE, f"1024 x 1024; the base model's processor would allow {own_limit:,} and run out of memory"


def gradient_checkpointing(parameters: int | None, memory_gb: float | None) -> tuple[bool, str]:
    """Off for models that are small for the GPU: below 1 GB of weights in 16 bit for each 16 GB of memory."""
    if parameters is None:
        return True, "the model's size is unknown, so memory is saved"
    weights_gb = 2 * parameters / 1e9
    room = memory_gb if memory_gb is not None else 16.0
    if weights_gb <= room / 16:
        return False, f"{weights_gb:.2g} GB of weights leave room for activations"
    return True, f"with {weights_gb:.2g} GB of weights, memory is worth more than time"
