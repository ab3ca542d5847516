"""A model's tensors from the headers of its safetensors files: names, shapes and types, without reading a weight."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from airtune.errors import Problem, SettingsError
from airtune.stores.base import Store

INDEX: Final = "model.safetensors.index.json"
_SUFFIX: Final = ".safetensors"
_LARGEST_HEADER: Final = 100_000_000  # bytes; safetensors itself allows no larger one


@dataclass(frozen=True)
class Tensor:
    """One tensor of a checkpoint.

    Attributes:
        name: as the checkpoint has it, which need not be the module's name in transformers.
        shape: its sizes.
    """

    name: str
    shape: tuple[int, ...]

    @property
    def parameters(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


def read_tensors(store: Store, *, where: str) -> list[Tensor]:
    """Every tensor of the model in a store.

    Args:
        store: the model's folder.
        where: how problems name the setting.

    Raises:
        SettingsError: there are no safetensors files, one of the index is missing, or one is damaged.
    """
    names = [info.key for info in store.list() if "/" not in info.key]
    files = [name for name in names if name.endswith(_SUFFIX)]
    if INDEX in names:
        files = _indexed(store, names, where)
    if not files:
        other = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".gguf"))]
        found = f"; it has {other[0]}" if other else ""
        raise SettingsError(
            Problem(
                where,
                f"the base model has no weights in the safetensors format{found}",
                value=store.uri,
                fix="save it with save_pretrained of a current transformers" if other else "copy the whole model there",
            )
        )
    return [tensor for name in files for tensor in _tensors_of(store, name, where)]


def _indexed(store: Store, names: Iterable[str], where: str) -> list[str]:
    try:
        files = sorted(set(json.loads(store.read(INDEX))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError):
        raise SettingsError(Problem(where, f"{INDEX} of the base model is damaged", value=store.uri)) from None
    missing = [name for name in files if name not in set(names)]
    if missing:
        text = ", ".join(missing[:3])
        raise SettingsError(
            Problem(where, f"{len(missing)} of the base model's {len(files)} weight files are missing: {text}",
                    value=store.uri, fix="copy the whole model there")
        )  # fmt: skip
    return files


def _tensors_of(store: Store, name: str, where: str) -> list[Tensor]:
    size = int.from_bytes(store.read_part(name, 0, 8), "little")
    try:
        if not 0 < size <= _LARGEST_HEADER:
            raise ValueError(size)
        header = json.loads(store.read_part(name, 8, size))
        return [
            Tensor(key, tuple(int(each) for each in entry["shape"]))
            for key, entry in header.items()
            if key != "__metadata__"
        ]
    except (ValueError, KeyError, AttributeError, TypeError):
        raise SettingsError(
            Problem(where, f"{name} of the base model is damaged: it has no readable header", value=store.uri)
        ) from None
