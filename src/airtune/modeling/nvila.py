"""NVILA-Lite, which transformers does not have: the classes that Datature's SDK brings, made fit for training.

The package ``vi-sdk`` (the extra ``vi``) has model, configuration and processor, made to be served. What training
needs beyond that is put right in subclasses of the same names, so that what is saved loads in the SDK as it is.
"""

from __future__ import annotations

import contextlib
import io
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from airtune.errors import Problem, SettingsError
from airtune.modeling.base_model import model_type_of

MODEL_TYPE: Final = "nvila"
_PACKAGE: Final = "vi.inference.loaders.architectures.nvila"
_MOST_TILES: Final = 12
_TOKENS_A_TILE: Final = 122
"""121 of the projector, and the line feed that the processor puts after them."""


class NvilaClasses(NamedTuple):
    """The three classes, known to the Auto classes of transformers once they were asked for."""

    config: Any
    model: Any
    processor: Any


def know_classes(folder: Path) -> None:
    """Makes NVILA's classes known to transformers when the model in a folder is one.

    Raises:
        SettingsError: it is, and the extra ``vi`` is not installed.
    """
    if model_type_of(folder) == MODEL_TYPE:
        nvila_classes()


@cache
def nvila_classes() -> NvilaClasses:
    """Configuration, model and processor.

    Raises:
        SettingsError: the extra ``vi`` is not installed.
    """
    import importlib

    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    try:
        # It draws a progress bar while it looks for packages.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            configuration: Any = importlib.import_module(f"{_PACKAGE}.configuration")
            modeling: Any = importlib.import_module(f"{_PACKAGE}.modeling")
            processing: Any = importlib.import_module(f"{_PACKAGE}.processing")
            tiling: Any = importlib.import_module(f"{_PACKAGE}.tiling")
    except ImportError as error:
        raise SettingsError(
            Problem("architecture.name", f"NVILA-Lite is not in transformers, and vi-sdk cannot be imported: {error}",
                    value=MODEL_TYPE, fix="install the extra vi: pip install 'airtune[vi]'")
        ) from error  # fmt: skip

    class NVILALiteForConditionalGeneration(modeling.NVILALiteForConditionalGeneration):  # type: ignore[misc]
        """The SDK's model for any width of the vision tower, any precision, and with a choice of positions."""

        def __init__(self, config: Any) -> None:
            # The projector's width is a constant of the module: that of the published size.
            modeling.MM_HIDDEN_SIZE = config.vision_config.hidden_size
            config.vision_feature_layer = -2  # which the code does and the configuration does not say
            if config.dtype is None:
                config.dtype = torch.get_default_dtype()
            super().__init__(config)

        def get_output_embeddings(self) -> Any:
            """The layer that makes the logits."""
            return self.llm.get_output_embeddings()

        def forward(
            self,
            *,
            input_ids: Any = None,
            inputs_embeds: Any = None,
            pixel_values: Any = None,
            logits_to_keep: Any = 0,
            **inputs: Any,
        ) -> Any:
            """The language model on text and pictures; ``logits_to_keep`` as transformers' models have it."""
            inputs |= {"input_ids": input_ids, "inputs_embeds": inputs_embeds, "pixel_values": pixel_values}
            return super().forward(logits_to_keep=logits_to_keep, **inputs)

        def _embed(self, *, input_ids: Any, pixel_values: Any, pixel_values_videos: Any) -> Any:
            # Not in place: with gradient checkpointing the embeddings are a leaf. And under autocast the projector
            # gives half precision, which is not assigned to float32.
            embedded = self.llm.model.embed_tokens(input_ids)
            pairs = ((pixel_values, self.config.image_token_id), (pixel_values_videos, self.config.video_token_id))
            for pixels, token in pairs:
                if pixels is None:
                    continue
                features = self._encode_vision(pixels).flatten(0, 1).to(embedded.dtype)
                places = input_ids == token
                if int(places.sum()) != features.shape[0]:
                    raise ValueError(f"{int(places.sum())} image tokens, but {features.shape[0]} features")
                embedded = embedded.masked_scatter(places.unsqueeze(-1), features)
            return embedded

    class NVILALiteProcessor(processing.NVILALiteProcessor):  # type: ignore[misc]
        """The SDK's processor, which can also say how many tokens a picture becomes."""

        def __call__(self, **inputs: Any) -> Any:
            """Text and pictures as the model's inputs; a count that does not match is a ``ValueError``."""
            try:
                return super().__call__(**inputs)
            except AssertionError as error:
                raise ValueError(str(error)) from error

        def _get_num_multimodal_tokens(self, image_sizes: list[tuple[int, int]], **options: Any) -> dict[str, Any]:
            """Tokens of the pictures of one sample: a single one is cut into tiles, several are a tile each."""
            del options
            if len(image_sizes) != 1:
                return {"num_image_tokens": [_TOKENS_A_TILE] * len(image_sizes)}
            ((height, width),) = image_sizes
            ratios = sorted(
                {(i, j) for i in range(1, _MOST_TILES + 1) for j in range(1, _MOST_TILES + 1) if i * j <= _MOST_TILES},
                key=lambda ratio: ratio[0] * ratio[1],
            )
            edge = self.image_processor.size["height"]
            columns, rows = tiling.find_closest_aspect_ratio(width / height, ratios, width, height, edge)
            tiles = columns * rows
            tiles += 1 if tiles > 1 else 0  # a small copy of the whole
            return {"num_image_tokens": [tiles * (_TOKENS_A_TILE + 1)]}  # and a line feed after each

    classes = NvilaClasses(
        configuration.NVILALiteConfig, NVILALiteForConditionalGeneration, NVILALiteProcessor
    )  # fmt: skip
    AutoConfig.register(MODEL_TYPE, classes.config)
    AutoModelForImageTextToText.register(classes.config, classes.model)
    AutoProcessor.register(classes.config, classes.processor)
    return classes
