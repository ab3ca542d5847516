"""Pictures through the frozen vision tower and projector, one at a time and outside the model's forward.

What a frozen tower makes of a picture never changes. So it is made by one function, whether the result is used at
once or kept for the epochs and runs to come: a run with kept features equals the run without, bit for bit. The model
takes the features as ``mm_encoder_outputs``, in place of pixels.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from airtune.catalog.entry import CatalogEntry
from airtune.errors import DefectError, Problem
from airtune.modeling.parts import SEEING, frozen_seeing_modules, plain_name
from airtune.runspec.resolved import ResolvedRun

ENCODER_OUTPUTS: Final = "mm_encoder_outputs"
"""The argument under which a model's forward takes what was encoded before."""

POOLED: Final = "features.pooled"
"""A picture's features: (tokens, width), or (tiles, tokens, width) where the model joins tiles itself (InternVL)."""

DEEPSTACK: Final = "features.deepstack"
"""What the first layers of the language model get on top (Qwen3-VL): (layers, tokens, width)."""

_PIXELS: Final = "pixel_"

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class PictureFeatures:
    """The features of a batch's pictures, as the model's own ``get_image_features`` would have returned them.

    Attributes:
        pooler_output: one tensor (tokens, width) a picture, or all tiles in one tensor (tiles, tokens, width).
        deepstack_features: per layer one tensor (tokens, width) a picture, or None.
    """

    pooler_output: torch.Tensor | tuple[torch.Tensor, ...]
    deepstack_features: list[tuple[torch.Tensor, ...]] | None = None


class PictureEncoder:
    """Turns one picture's pixels into features with a model's own frozen tower and projector.

    Args:
        model: the model, with or without adapters on its language model.
        entry: its catalog entry; ``vision_features`` says that its forward takes features.

    Raises:
        DefectError: the tower or projector is trained, so its features would change.
    """

    def __init__(self, model: Any, entry: CatalogEntry) -> None:
        self._model = model.get_base_model() if hasattr(model, "get_base_model") else model
        parameters = list(seeing_parameters(self._model, entry))
        trained = [name for name, parameter in parameters if parameter.requires_grad]
        if trained or not parameters:
            raise DefectError(
                Problem("vision features", "need a frozen vision tower", value=", ".join(trained[:3]) or "no tower")
            )
        self._seeing = [module for _, module in frozen_seeing_modules(self._model, entry)]
        self._takes = frozenset(inspect.signature(self._model.get_image_features).parameters)
        first = parameters[0][1]
        self._device, self._dtype = first.device, first.dtype

    def encode(self, picture: Mapping[str, torch.Tensor]) -> Tensors:
        """One picture's features, on the model's device.

        Without gradients, without dropout and without autocast: exactly what the model sees when it is served.

        Args:
            picture: what the image processor made of one picture (``pixel_values``, ``image_grid_thw`` ...).

        Returns:
            The same without the pixels, and :data:`POOLED` (and :data:`DEEPSTACK`) instead.
        """
        for module in self._seeing:
            if module.training:
                module.eval()
        given = {name: self._placed(value) for name, value in picture.items() if name in self._takes}
        with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
            found = self._model.get_image_features(**given, return_dict=True)
        kept = {name: value for name, value in picture.items() if not name.startswith(_PIXELS)}
        return {**kept, **_features(found)}

    def _placed(self, value: torch.Tensor) -> torch.Tensor:
        return value.to(device=self._device, dtype=self._dtype if value.is_floating_point() else None)


def picture_encoder(model: Any, run: ResolvedRun, entry: CatalogEntry) -> PictureEncoder | None:
    """What encodes the pictures of a run; None where the tower learns or takes pixels only, or sees videos."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    # A model that brings its own code is not what the catalog speaks of.
    takes = hasattr(base, "get_image_features") and ENCODER_OUTPUTS in inspect.signature(type(base).forward).parameters
    kept = takes and entry.vision_features and run.training_mode == "LoRA" and not run.task.needs_video
    return PictureEncoder(model, entry) if kept else None


def is_encoded(picture: Mapping[str, torch.Tensor]) -> bool:
    """Whether these are a picture's features, not its pixels."""
    return POOLED in picture


def joined(pictures: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, PictureFeatures]:
    """The ``mm_encoder_outputs`` of a batch from the features of its pictures, in the order of the batch.

    Args:
        pictures: at least one, each as :meth:`PictureEncoder.encode` returned it.
    """
    pooled = tuple(picture[POOLED] for picture in pictures)
    deepstack = None
    if DEEPSTACK in pictures[0]:
        layers = pictures[0][DEEPSTACK].shape[0]
        deepstack = [tuple(picture[DEEPSTACK][layer] for picture in pictures) for layer in range(layers)]
    return {"image": PictureFeatures(torch.cat(pooled) if pooled[0].dim() == 3 else pooled, deepstack)}


def without_features(picture: Mapping[str, torch.Tensor]) -> Tensors:
    """What else the model gets of an encoded picture: its grid, its size."""
    return {name: value for name, value in picture.items() if name not in (POOLED, DEEPSTACK)}


def seeing_parameters(model: nn.Module, entry: CatalogEntry) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters of vision tower and projector by their plain names."""
    for name, parameter in model.named_parameters():
        plain = plain_name(name)
        if entry.part_of(plain) in SEEING:
            yield plain, parameter


def _features(found: Any) -> Tensors:
    pooled = found.pooler_output
    if not isinstance(pooled, torch.Tensor):
        if len(pooled) != 1:
            raise DefectError(Problem("vision features", f"one picture gave {len(pooled)} sets of features"))
        (pooled,) = pooled
    # Detached, and copies of their own: a view would keep the whole tower's output alive.
    features = {POOLED: pooled.detach().clone()}
    deepstack = getattr(found, "deepstack_features", None)
    if deepstack is not None:
        features[DEEPSTACK] = torch.stack([torch.cat(list(layer)) for layer in deepstack]).detach()
    return features
