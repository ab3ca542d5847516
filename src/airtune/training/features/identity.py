"""Whose features they are: everything on which a feature's bits depend, as one name.

Features are used only where they are exactly what this run would compute. So the name of their folder is a digest of
all that goes in: the weights of vision tower and projector as loaded, the model's configuration, the image processor's
settings (``maxPixels`` among them), the number types, the versions of the libraries that decode, scale and multiply,
and the kind of device. The picture itself is the file's name, as the sha256 of its content.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from typing import Any, Final

import torch

from airtune.catalog.entry import CatalogEntry
from airtune.modeling.parts import SEEING, plain_name

LAYOUT: Final = 1
"""Is raised when what this package writes, or how it decodes a picture, changes."""

_LIBRARIES: Final = ("torch", "torchvision", "transformers", "pillow", "numpy")

_ELSEWHERE: Final = ("_name_or_path", "transformers_version", "quantization_config", "dtype", "torch_dtype")
"""Keys of a configuration that say nothing here: 4 bit spares the tower, and its number types are in the weights."""


def identity(model: Any, entry: CatalogEntry, processor: Any) -> dict[str, Any]:
    """What features depend on, as plain data.

    Args:
        model: the model as loaded, with or without adapters on its language model.
        entry: its catalog entry, which says where tower and projector are.
        processor: with the run's limits in effect.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return {
        "layout": LAYOUT,
        "architecture": entry.key,
        "class": type(base).__name__,
        "weights": _weights(base, entry),
        "config": _plain(base.config.to_dict()),
        "attention": _attention(base.config),
        "processor": {"class": type(processor).__name__, "images": _plain(processor.image_processor.to_dict())},
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "device": _device(next(base.parameters()).device),
    }


def name_of(described: dict[str, Any]) -> str:
    """The folder's name: a digest of :func:`identity`."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]


def _weights(model: Any, entry: CatalogEntry) -> str:
    digest = hashlib.sha256()
    named = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in sorted(((plain_name(name), tensor) for name, tensor in named), key=lambda pair: pair[0]):
        if entry.part_of(name) in SEEING:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _plain(settings: dict[str, Any]) -> Any:
    """The settings as JSON has them, without what says nothing here."""

    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): cleaned(inner) for key, inner in value.items() if key not in _ELSEWHERE}
        return [cleaned(inner) for inner in value] if isinstance(value, list | tuple) else value

    return json.loads(json.dumps(cleaned(settings), sort_keys=True, default=str))


def _attention(config: Any) -> list[str]:
    vision = getattr(config, "vision_config", None)
    return [str(getattr(each, "_attn_implementation", None)) for each in (config, vision)]


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _device(device: torch.device) -> dict[str, Any]:
    arithmetic = {
        "matmul": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return {
            **arithmetic,
            "name": properties.name,
            "capability": [properties.major, properties.minor],
            "cuda": torch.version.cuda,
            "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        }
    # A product's terms are added up in another order with other vector units, and with another number of threads.
    return {
        **arithmetic,
        "name": f"{device.type} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
    }
