"""What of a base model is trained, as the run says: adapters on the language model, or every parameter."""

from __future__ import annotations

from typing import Any

from airtune.catalog.entry import CatalogEntry
from airtune.modeling.adapters import add_adapters
from airtune.modeling.parts import run_frozen_parts_without_gradients
from airtune.runspec.resolved import ResolvedRun


def make_trainable(model: Any, run: ResolvedRun, entry: CatalogEntry) -> Any:
    """The model with what is to be trained requiring gradients and everything else kept out of the backward pass.

    Args:
        model: see :func:`airtune.modeling.loading.load_model`.
        run: its mode, its adapter's settings, and whether activations are computed again instead of kept.
        entry: the catalog entry.

    Raises:
        SettingsError: no layer has one of the catalog's names.
        DefectError: a part other than the language model got adapters.
    """
    if run.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    if run.training_mode == "LoRA":
        model = add_adapters(model, run, entry)
        run_frozen_parts_without_gradients(model, entry)
    else:
        model.requires_grad_(True)
    return model
