"""An entry for a model that the catalog does not have, where its own files leave no doubt where its parts are.

What is needed is written in a vision-language model itself: its config.json describes one vision encoder and one
language model, and its weights are named after the modules that hold them. Where that is not so, a reason is given
and nothing is guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from airtune.catalog.entry import CatalogEntry, Parts

_VISION: Final = re.compile(r"(?:vision|visual|vit|image_(?:encoder|tower|model))")
_LANGUAGE: Final = re.compile(r"(?:language_model|text_model|llm)$")
_BARE: Final = ("embed_tokens", "layers", "norm")
"""A language model that is not a module of its own; newer versions of transformers make it one when they load it."""
_OTHER_SENSES: Final = re.compile(r"(?:audio|speech|sound|video)")
_LAYER: Final = re.compile(r"\.(?:layers?|blocks|h)\.\d+\.")
_ROUTER: Final = ("gate", "router", "shared_expert_gate")
_MOST_JOINING: Final = 0.25
"""What joins pictures and language is small; a larger rest is a part that nobody has recognised."""

NEVER: Final = "^(?!)"
"""Matches nothing: for a part that the model does not have as a module of its own."""


class NotDerivableError(ValueError):
    """The reason why a model's own files do not say where its parts are."""


@dataclass
class _Segment:
    """The weights below one of a model's outermost modules."""

    names: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)

    @property
    def parameters(self) -> int:
        return sum(math.prod(shape) for _, shape in self.names)

    @property
    def has_layers(self) -> bool:
        return any(_LAYER.search(f".{name}") for name, _ in self.names)


def derive(config: Mapping[str, Any], tensors: Iterable[tuple[str, tuple[int, ...]]]) -> CatalogEntry:
    """The entry of a model.

    Args:
        config: its config.json.
        tensors: name and shape of each of its weights.

    Raises:
        NotDerivableError: there is not exactly one vision encoder and one language model of plain linear layers.
    """
    model_type = str(config.get("model_type", ""))
    if not any(isinstance(config.get(name), Mapping) for name in ("vision_config", "visual_config")):
        raise NotDerivableError("its config.json describes no vision encoder (vision_config)")
    if any(config.get(name) for name in ("audio_config", "speech_config")):
        raise NotDerivableError("its config.json describes an audio encoder as well")
    segments = _segments(tensors)
    if not segments:
        raise NotDerivableError("the names of its weights are not known here; give a folder (file:// or s3://)")
    vision = [name for name, found in segments.items() if _VISION.match(name) and found.has_layers]
    language = [name for name, found in segments.items() if _LANGUAGE.match(name) and found.has_layers]
    if not language and "layers" in segments:
        language = [name for name in _BARE if name in segments]
    others = [name for name in segments if name not in (*vision, *language)]
    _check(segments, vision, language, others)
    spoken = [*language, "language_model"] if "layers" in language else language
    return CatalogEntry(
        key=re.sub(r"[^a-z0-9]", "", model_type.lower()),
        display_names=(model_type,),
        model_type=model_type,
        hf_class=str(next(iter(config.get("architectures") or []), "AutoModelForImageTextToText")),
        sizes={},
        modes=("LoRA", "SFT"),
        video=False,
        parts=Parts(
            language=_pattern(spoken),
            vision=_pattern(vision),
            projector=_pattern(others) if others else NEVER,
            head=r"^(?:language_model\.)?lm_head\b",
        ),
        lora_targets=_targets(segments, language),
        quantization_skip=(*(f"{prefix}{name}" for name in (*vision, *others) for prefix in ("model.", "")), "lm_head"),
        packing=False,
        derived=True,
        note="its parts were derived from the model's own files",
    )


def _segments(tensors: Iterable[tuple[str, tuple[int, ...]]]) -> dict[str, _Segment]:
    segments: dict[str, _Segment] = {}
    for full, shape in tensors:
        name = full.removeprefix("model.")
        outermost, _, inner = name.partition(".")
        if "lm_head" in (outermost, inner.partition(".")[0]):
            continue
        segments.setdefault(outermost, _Segment()).names.append((inner, shape))
    return segments


def _check(segments: Mapping[str, _Segment], vision: list[str], language: list[str], others: list[str]) -> None:
    if len(vision) != 1:
        raise NotDerivableError(f"it has {_counted(vision, 'vision encoder')} among {', '.join(sorted(segments))}")
    if not language or (len(language) > 1 and "layers" not in language):
        raise NotDerivableError(f"it has {_counted(language, 'language model')} among {', '.join(sorted(segments))}")
    for name in others:
        if _OTHER_SENSES.match(name):
            raise NotDerivableError(f"it has a part for something else than pictures and text: {name}")
    spoken = [entry for name in language for entry in segments[name].names]
    if any("experts" in name for name, _ in spoken):
        raise NotDerivableError("its language model routes tokens to experts")
    total = sum(found.parameters for found in segments.values())
    rest = sum(segments[name].parameters for name in others)
    if rest > _MOST_JOINING * total:
        raise NotDerivableError(f"{', '.join(others)} would be what joins the two, with {rest / total:.0%} of it")


def _counted(found: list[str], what: str) -> str:
    return f"{len(found)} {what}s ({', '.join(found)})" if found else f"no {what}"


def _targets(segments: Mapping[str, _Segment], language: list[str]) -> tuple[str, ...]:
    """Last names of the linear layers in the language model's layers, in order of appearance."""
    names: dict[str, None] = {}
    for segment in language:
        for inner, shape in segments[segment].names:
            module, _, last = f"{segment}.{inner}".rpartition(".")
            layer = module.rpartition(".")[2]
            if last == "weight" and len(shape) == 2 and _LAYER.search(f".{module}.") and layer not in _ROUTER:
                names.setdefault(layer)
    if not names:
        raise NotDerivableError("its language model has no linear layers that LoRA could adapt")
    return tuple(names)


def _pattern(names: list[str]) -> str:
    return rf"^(?:model\.)?(?:{'|'.join(map(re.escape, names))})\b"
