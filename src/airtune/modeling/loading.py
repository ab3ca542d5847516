"""Loads a base model and its processor exactly as a run is resolved: precision, 4 bit, size of pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from airtune.catalog.entry import CatalogEntry
from airtune.environment import Environment
from airtune.errors import NotPermittedError, Problem, SettingsError
from airtune.modeling.base_model import model_type_of
from airtune.modeling.films import limit_frames
from airtune.modeling.nvila import know_classes
from airtune.modeling.picture_tokens import image_tokens, patch_edge
from airtune.modeling.precision import compute_dtype, default_device, weight_dtype
from airtune.runspec.resolved import ResolvedRun


def load_model(
    base: Path,
    run: ResolvedRun,
    *,
    entry: CatalogEntry,
    for_training: bool,
    device: torch.device | None = None,
) -> Any:
    """The base model on a device, frozen weights in the run's precision or in 4 bit.

    Args:
        base: folder of the model, see :func:`airtune.modeling.base_model.fetch_base_model`.
        run: the resolved run.
        entry: the catalog entry of its architecture.
        for_training: whether every parameter may be trained (SFT then holds float32 master weights); False loads
            what is evaluated and served.
        device: default the GPU, or the CPU when there is none.

    Returns:
        A ``transformers`` image-text-to-text model, in evaluation mode.

    Raises:
        SettingsError: the folder holds no complete model that can be loaded.
        NotPermittedError: the model wants to run code of its own and this installation does not allow it.
    """
    from transformers import AutoModelForImageTextToText

    target = device or default_device()
    options: dict[str, Any] = {
        "dtype": weight_dtype(run, for_training=for_training),
        "trust_remote_code": _remote_code(entry, base),
        "use_safetensors": True,
        "local_files_only": True,
        "output_loading_info": True,
        "device_map": {"": str(target)},
    }
    if run.quantization_enabled:
        options["quantization_config"] = quantization(run, entry)
    know_classes(base)
    with _load_errors_in_words(base), quietly():
        model, info = AutoModelForImageTextToText.from_pretrained(str(base), **options)
    missing = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if missing:
        raise SettingsError(
            Problem("baseModel", f"{len(missing)} weights are missing or of another shape: {', '.join(missing[:5])}",
                    value=str(base), fix="give a complete model; untrained weights are never filled in silently")
        )  # fmt: skip
    _never_repack(model)
    model.eval()
    return model


def quantization(run: ResolvedRun, entry: CatalogEntry) -> Any:
    """The 4-bit settings: NF4 or FP4, double quantisation, and the parts that stay as they are.

    The vision tower, the projector and the output layer are left alone: quantising them saves little and costs
    some models their sight.
    """
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=run.quantization_type.lower(),
        bnb_4bit_compute_dtype=compute_dtype(run),
        bnb_4bit_use_double_quant=True,
        llm_int8_skip_modules=list(entry.quantization_skip),
    )


def load_processor(folder: Path, run: ResolvedRun | None = None, *, entry: CatalogEntry | None = None) -> Any:
    """The processor (tokenizer, chat template, image processor) with the run's limit on picture sizes in effect.

    Args:
        folder: of the base model, or of a saved processor.
        run: the resolved run; None takes the processor as it was saved.
        entry: the catalog entry, for models that bring code.

    Raises:
        SettingsError: there is no processor, it has no chat template, or it cannot limit picture sizes.
    """
    from transformers import AutoProcessor

    know_classes(folder)
    with _load_errors_in_words(folder), quietly():
        processor = AutoProcessor.from_pretrained(
            str(folder), trust_remote_code=entry is not None and _remote_code(entry, folder), local_files_only=True
        )
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise SettingsError(
            Problem("baseModel", "has no processor for pictures and text", value=str(folder),
                    fix="the folder needs preprocessor_config.json or processor_config.json, and the tokenizer")
        )  # fmt: skip
    if not getattr(processor, "chat_template", None):
        template = getattr(processor.tokenizer, "chat_template", None)
        if not template:
            raise SettingsError(
                Problem("baseModel", "has no chat template", value=str(folder),
                        fix="add chat_template.jinja; an instruction-tuned model has one")
            )  # fmt: skip
        processor.chat_template = template
    if run is not None and run.max_pixels is not None:
        limit_pixels(processor, run.max_pixels)
    return processor


def limit_pixels(processor: Any, max_pixels: int) -> None:
    """Scales larger pictures, and frames of videos, down to ``max_pixels`` (width x height), by the processor itself.

    The limit is saved with the processor, so that the published model sees pictures as it was trained to.

    Raises:
        SettingsError: this processor has no such limit, or the limit had no effect.
    """
    size: Any = getattr(processor.image_processor, "size", None)
    longest = size.get("longest_edge") if isinstance(size, dict) else getattr(size, "longest_edge", None)
    unit = patch_edge(processor)
    # Only for the Qwen family the two edges are areas; elsewhere they are lengths, and tiles decide the tokens.
    if longest is None or unit is None or not hasattr(processor.image_processor, "merge_size"):
        raise SettingsError(
            Problem("maxPixels", f"{type(processor.image_processor).__name__} cannot limit the area of pictures",
                    value=str(max_pixels), fix="leave maxPixels out, or scale the pictures before training")
        )  # fmt: skip
    if max_pixels < unit * unit:
        raise SettingsError(
            Problem("maxPixels", "is less than one image token", value=str(max_pixels), allowed=f">= {unit * unit}")
        )
    shortest: Any = size.get("shortest_edge") if isinstance(size, dict) else size.shortest_edge
    limits = {"shortest_edge": min(int(shortest or max_pixels), max_pixels), "longest_edge": max_pixels}
    processor.image_processor.size = type(size)(**limits) if not isinstance(size, dict) else limits
    tokens = image_tokens(processor, [(8 * unit + max_pixels, max_pixels // unit + 8 * unit)])[0]
    if tokens * unit * unit > max_pixels:
        raise SettingsError(
            Problem("maxPixels", f"had no effect on {type(processor.image_processor).__name__}: a large picture still "
                    f"becomes {tokens} tokens of {unit}x{unit} pixels", value=str(max_pixels))
        )  # fmt: skip
    limit_frames(processor, max_pixels)


def _never_repack(model: Any) -> None:
    """Keeps 4-bit layers on the CPU as they were quantised.

    In evaluation mode, on a CPU with AVX512-BF16, bitsandbytes 0.50 repacks a layer for a faster kernel that computes
    in BFloat16 whatever was asked, and that has no backward pass: after the first validation of a run every gradient
    would silently be wrong.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _remote_code(entry: CatalogEntry, folder: Path) -> bool:
    if not entry.runs_remote_code(model_type_of(folder)):
        return False
    if not Environment.read().allow_remote_code:
        raise NotPermittedError(
            Problem("architecture.name", f"{entry.display_name} runs code that ships with the model", value=entry.key,
                    fix="whoever runs this installation can allow it with AIRTUNE_ALLOW_REMOTE_CODE=1")
        )  # fmt: skip
    return True


@contextlib.contextmanager
def _load_errors_in_words(folder: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SettingsError(
            Problem("baseModel", f"cannot be loaded: {reason}", value=str(folder),
                    fix="check that the folder is complete and of an architecture in the catalog")
        ) from error  # fmt: skip


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the library's progress bars: a log file is no terminal, and what matters is said by the stage."""
    from transformers.utils import logging as library

    shown = library.is_progress_bar_enabled()
    library.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            library.enable_progress_bar()
