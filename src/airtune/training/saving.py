"""What a finished run leaves: an adapter, or a complete model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from airtune.catalog.entry import CatalogEntry
from airtune.modeling.adapters import save_adapter
from airtune.modeling.loading import load_model, quietly
from airtune.modeling.precision import compute_dtype
from airtune.runspec.resolved import ResolvedRun
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory
from airtune.training import ranks, sharding

_GENERATION_CONFIG: Final = "generation_config.json"


def save_trained(
    model: Any, processor: Any, run: ResolvedRun, entry: CatalogEntry, base: Path, directory: RunDirectory
) -> str:
    """Writes ``model_adapter/`` (LoRA) or ``model_full/`` (SFT) to the workspace.

    All processes call it, the first one writes: of a divided model each holds a share.

    Returns:
        The name of the folder.
    """
    if sharding.is_asked_for():
        undivided = None
        if ranks.is_main():
            undivided = load_model(base, run, entry=entry, for_training=False, device=sharding.HOST)
        ranks.wait()
        sharding.put_together(model, undivided)
        model = undivided
    if not ranks.is_main():
        return layout.MODEL_ADAPTER if run.training_mode == "LoRA" else layout.MODEL_FULL
    if run.training_mode == "LoRA":
        save_adapter(model, directory.path(layout.MODEL_ADAPTER), base_model=run.base_model)
        return layout.MODEL_ADAPTER

    def save(folder: Path) -> None:
        save_full(model, processor, run, base, folder)

    write_whole(directory.path(layout.MODEL_FULL), save)
    return layout.MODEL_FULL


def save_full(model: Any, processor: Any, run: ResolvedRun, base: Path, folder: Path) -> None:
    """A complete model in the run's precision: weights, config, processor, tokenizer, chat template, generation.

    The model is cast in place: it was trained, and is not trained any further.
    """
    from transformers import AutoConfig, GenerationConfig

    model.to(compute_dtype(run))
    # The loop turns the cache off; a model that is served without one is slow.
    served = AutoConfig.from_pretrained(str(base), local_files_only=True)
    model.config.use_cache = getattr(served, "use_cache", True)
    for name in model.config.sub_configs:  # the library writes the type of the model as a whole only
        part = getattr(model.config, name, None)  # None: the model has no such part, an audio tower for example
        if part is not None:
            part.dtype = compute_dtype(run)
    # The base's own file is copied: the library refuses to write some that it reads.
    model.generation_config = GenerationConfig()
    with quietly():
        model.save_pretrained(str(folder))
    processor.save_pretrained(str(folder))
    (folder / _GENERATION_CONFIG).unlink(missing_ok=True)
    if (base / _GENERATION_CONFIG).is_file():
        shutil.copyfile(base / _GENERATION_CONFIG, folder / _GENERATION_CONFIG)


def write_whole(folder: Path, write: Callable[[Path], object]) -> None:
    """Replaces a folder by what ``write`` puts into a new one; it is whole or as before."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        write(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
