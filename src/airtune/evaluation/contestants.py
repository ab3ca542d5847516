"""The models that are compared: the base as it was, and the one that was trained from it.

An adapter is loaded once, on top of its base: switched off it *is* the base, in the same quantisation. After full
fine-tuning there are two sets of weights, and they are loaded one after the other.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from airtune.catalog.entry import CatalogEntry
from airtune.errors import Problem, SettingsError
from airtune.evaluation.predictions import Model
from airtune.runspec.resolved import ResolvedRun

_WHOLE: Final = 16 * 2**20
_PIECES: Final = 64
_PIECE: Final = 64 * 2**10
_BEHAVIOUR: Final = (".json", ".jinja", ".txt", ".model", ".safetensors")
_OURS: Final = "run.json"


@dataclass(frozen=True, slots=True)
class Contestants:
    """Where the weights are.

    Attributes:
        base: folder of the base model, with its processor.
        adapter: folder of the adapter (LoRA), or None.
        full: folder of the trained weights (SFT), or None.
    """

    base: Path
    adapter: Path | None
    full: Path | None

    def fingerprint(self, model: Model, run: ResolvedRun) -> str:
        """16 hex digits that change when the model would answer differently: its files, and how they are loaded."""
        parts: list[object] = [
            run.precision,
            run.quantization_type if run.quantization_enabled else None,
            run.max_pixels,
            folder_fingerprint(self.base),
        ]
        if model == "tuned":
            trained = self.adapter or self.full
            parts.append(folder_fingerprint(trained, weights_only=True) if trained else None)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def groups(self) -> tuple[tuple[Model, ...], ...]:
        """The models that one loading serves, in the order in which they answer."""
        return (("base", "tuned"),) if self.adapter is not None else (("base",), ("tuned",))


class Loaded:
    """A loaded model that can answer as one or two of the contestants."""

    def __init__(self, model: Any, models: tuple[Model, ...]) -> None:
        self.model = model
        self._models = models

    def answering_as(self, model: Model) -> AbstractContextManager[Any]:
        """A context in which the model is the named one."""
        if model not in self._models:
            raise ValueError(model)
        if model == "base" and len(self._models) > 1:
            context: AbstractContextManager[Any] = self.model.disable_adapter()
            return context
        return contextlib.nullcontext()


@contextlib.contextmanager
def loaded(
    contestants: Contestants, models: tuple[Model, ...], run: ResolvedRun, entry: CatalogEntry
) -> Iterator[Loaded]:
    """One of the groups of :meth:`Contestants.groups` in memory, and out of it again afterwards."""
    import torch

    from airtune.modeling.adapters import load_adapter
    from airtune.modeling.loading import load_model

    folder = contestants.full if models == ("tuned",) and contestants.full is not None else contestants.base
    model = load_model(folder, run, entry=entry, for_training=False)
    if "tuned" in models and contestants.adapter is not None:
        model = load_adapter(model, contestants.adapter)
    holder = Loaded(model, models)
    del model
    try:
        yield holder
    finally:
        holder.model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def folder_fingerprint(folder: Path, *, weights_only: bool = False) -> str:
    """Sha256 (hex) over the names, sizes and contents of a model's files.

    Of files larger than 16 MiB only 64 pieces of 64 KiB are read, evenly spread and the ends included: enough to
    tell two trainings apart, without reading a hundred gigabytes.

    Args:
        folder: of the model or adapter.
        weights_only: leave out configuration and tokenizer.

    Raises:
        SettingsError: there are no weights.
    """
    endings = (".safetensors",) if weights_only else _BEHAVIOUR
    files = sorted(path for path in folder.glob("*") if path.suffix in endings and path.name != _OURS)
    if not any(path.suffix == ".safetensors" for path in files):
        raise SettingsError(
            Problem(str(folder), "holds no weights (*.safetensors)", fix="run `airtune train` to the end first")
        )
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _WHOLE:
                digest.update(file.read())
                continue
            for piece in range(_PIECES):
                file.seek(piece * (size - _PIECE) // (_PIECES - 1))
                digest.update(file.read(_PIECE))
    return digest.hexdigest()
