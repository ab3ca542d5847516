"""What a precision means for weights and arithmetic, in training and afterwards."""

from __future__ import annotations

from typing import Final

import torch

from airtune.runspec.resolved import Precision, ResolvedRun

DTYPES: Final[dict[Precision, torch.dtype]] = {
    "BFloat16": torch.bfloat16,
    "Float16": torch.float16,
    "Float32": torch.float32,
}


def compute_dtype(run: ResolvedRun) -> torch.dtype:
    """The type in which matrices are multiplied, and in which a model is saved and served."""
    return DTYPES[run.precision]


def weight_dtype(run: ResolvedRun, *, for_training: bool) -> torch.dtype:
    """The type in which the base model's weights are held.

    Full fine-tuning holds float32 master weights whatever the precision: an update of a thousandth of a weight is
    lost in the 8 bits of BFloat16, and half-precision weights break the gradient scaler. Frozen weights stay in the
    run's precision (or in 4 bit); the adapters that are trained beside them are always float32.
    """
    if for_training and run.training_mode == "SFT":
        return torch.float32
    return compute_dtype(run)


def default_device() -> torch.device:
    """The GPU of this process, or the CPU when there is none."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
