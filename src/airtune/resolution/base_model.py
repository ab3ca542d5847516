"""What can be told of a base model without loading it: its type, its size, its limits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from airtune.configs import configs_root
from airtune.errors import NotPermittedError, Problem, SettingsError, StoreError
from airtune.resolution.module_names import parameters_of
from airtune.resolution.shapes import is_tied, parameters_from, text_config
from airtune.resolution.weights import Tensor, read_tensors
from airtune.stores.base import MissingError, Store
from airtune.stores.opening import open_store
from airtune.stores.permission import is_hub_id

CONFIG: Final = "config.json"

_TOKENIZERS: Final = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "tokenizer.model")
_PROCESSORS: Final = ("processor_config.json", "preprocessor_config.json")
_VIDEOS: Final = "video_preprocessor_config.json"
_VISION: Final = re.compile(r"(?:^|\.)(?:visual|vision\w*|embed_vision)(?:\.|$)")
_PROJECTOR: Final = re.compile(r"(?:^|\.)(?:multi_modal_projector|mm_projector|embed_vision|merger)(?:\.|$)|_merger_")


@dataclass(frozen=True)
class BaseModel:
    """A base model as its files describe it.

    Attributes:
        uri: where it is.
        model_type: from its config.json; None when the files could not be looked at.
        parameters: number of parameters; None when unknown.
        parts: parameters of the parts language, vision, projector, head and embeddings; empty when unknown.
        tensors: its parameters, named as in the loaded model; from the headers of its files, else from its
            config.json where the family is known; else empty.
        hidden_size: width of the language model; None when unknown.
        layers: its number of layers.
        vocabulary: number of tokens that it knows.
        longest: longest sequence in tokens.
        pixel_limit: the area in pixels to which its processor scales larger images; None where it has no such limit.
        pixels_per_token: area of one image token in pixels, or None.
        config: its config.json.
        processor: its processor's settings; empty when they could not be looked at.
        known_from: ``files``, ``config`` (of the hub), ``published`` (airtune's copy of the published dimensions), or
            None where nothing is known.
    """

    uri: str
    model_type: str | None = None
    parameters: int | None = None
    parts: Mapping[str, int] = field(default_factory=dict)
    tensors: tuple[Tensor, ...] = ()
    hidden_size: int | None = None
    layers: int | None = None
    vocabulary: int | None = None
    longest: int | None = None
    pixel_limit: int | None = None
    pixels_per_token: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    processor: Mapping[str, Any] = field(default_factory=dict, repr=False)
    known_from: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The facts for ``resolution.json``."""
        return {
            "uri": self.uri,
            "model_type": self.model_type,
            "parameters": self.parameters,
            "parts": dict(self.parts),
            "longest_sequence": self.longest,
            "pixel_limit": self.pixel_limit,
            "pixels_per_token": self.pixels_per_token,
            "known_from": self.known_from,
        }


def read_model_type(source: str, *, where: str) -> str:
    """The ``model_type`` of the model in a folder; the cheap part of :func:`read_base_model`.

    Raises:
        SettingsError: there is no model, or its config.json is damaged or names no model type.
    """
    return _model_type(_config(open_store(source), where), source, where)


def read_base_model(source: str, *, where: str) -> BaseModel:
    """Looks at a base model.

    Args:
        source: ``file://…``, ``s3://…``, or an id of the hub; of that only config.json is asked for.
        where: how problems name the setting.

    Raises:
        SettingsError: there is no model, files are missing or damaged, or it is quantised already.
        NotPermittedError: the hub wants its licence to be accepted.
        StoreError: the hub does not answer and its cache has no copy.
    """
    if is_hub_id(source):
        config = _hub_config(source, where)
        return read_published(source) if config is None else _described(source, config, {}, (), "config")
    store = open_store(source)
    config = _config(store, where)
    _model_type(config, source, where)
    names = {info.key for info in store.list() if "/" not in info.key}
    for kind, wanted in (("tokenizer", _TOKENIZERS), ("processor", _PROCESSORS)):
        if not names & set(wanted):
            raise SettingsError(
                Problem(where, f"the base model has no {kind}", value=source, allowed=f"one of {', '.join(wanted)}",
                        fix="save the model's processor beside it (processor.save_pretrained)")
            )  # fmt: skip
    processor: dict[str, Any] = {}
    for name in reversed(_PROCESSORS):
        if name in names:
            processor |= _json_object(store.read(name), f"{source}/{name}", where)
    if _VIDEOS in names and "video_processor" not in processor:
        processor["video_processor"] = _json_object(store.read(_VIDEOS), f"{source}/{_VIDEOS}", where)
    return _described(source, config, processor, tuple(read_tensors(store, where=where)), "files")


def read_published(hub: str) -> BaseModel:
    """What airtune itself knows of a published model: ``include/configs/published``; for use without a network.

    Args:
        hub: its id. Of an unknown model nothing but that is known.
    """
    path = configs_root() / "published" / f"{hub.replace('/', '--')}.json"
    if not path.is_file():
        return BaseModel(hub)
    return _described(hub, json.loads(path.read_text(encoding="utf-8")), {}, (), "published")


def _described(
    source: str, config: Mapping[str, Any], processor: Mapping[str, Any], found: tuple[Tensor, ...], known_from: str
) -> BaseModel:
    text = text_config(config)
    tensors = parameters_of(found, str(config["model_type"]), tied=is_tied(config)) or parameters_from(config)
    parts = _parts(tensors)
    return BaseModel(
        uri=source,
        model_type=str(config["model_type"]),
        parameters=sum(tensor.parameters for tensor in tensors) or None,
        parts=parts,
        tensors=tensors,
        hidden_size=_whole(text.get("hidden_size")),
        layers=_whole(text.get("num_hidden_layers")),
        vocabulary=_whole(text.get("vocab_size")),
        longest=_whole(text.get("max_position_embeddings")),
        pixel_limit=_pixel_limit(processor),
        pixels_per_token=_pixels_per_token(config),
        config=config,
        processor=processor,
        known_from=known_from,
    )


def _config(store: Store, where: str) -> dict[str, Any]:
    try:
        data = store.read(CONFIG)
    except MissingError:
        raise SettingsError(
            Problem(where, "there is no model here (no config.json)", value=store.uri,
                    fix="give the folder that holds config.json, model.safetensors and the tokenizer")
        ) from None  # fmt: skip
    config = _json_object(data, f"{store.uri}/{CONFIG}", where)
    if config.get("quantization_config"):
        raise SettingsError(
            Problem(where, "the base model is quantised already: it cannot be trained and published from there",
                    value=store.uri, fix="give the model in 16 or 32 bit; 4 bit is applied when it is loaded")
        )  # fmt: skip
    return config


def _model_type(config: Mapping[str, Any], source: str, where: str) -> str:
    found = config.get("model_type")
    if not isinstance(found, str) or not found:
        raise SettingsError(Problem(where, "the base model's config.json names no model_type", value=source))
    return found


def _json_object(data: bytes, name: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise SettingsError(Problem(where, "a file of the base model is not a JSON object", value=name))
    return value


def _hub_config(model_id: str, where: str) -> dict[str, Any] | None:
    """The hub's (or its cache's) config.json; None where the hub's client is not installed."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
    except ImportError:
        return None
    try:
        path = hf_hub_download(model_id, CONFIG)
        with open(path, "rb") as stream:  # noqa: PTH123 - the hub's cache hands out a str
            return _json_object(stream.read(), f"{model_id}/{CONFIG}", where)
    except GatedRepoError as error:
        raise NotPermittedError(
            Problem(where, "the hub asks for its licence to be accepted", value=model_id,
                    fix="accept it on the model's page and set HF_TOKEN")
        ) from error  # fmt: skip
    except RepositoryNotFoundError as error:
        raise SettingsError(
            Problem(where, "there is no such model on the hub (or it is private)", value=model_id,
                    fix="check the id, set HF_TOKEN, or give a file:// or s3:// folder")
        ) from error  # fmt: skip
    except (HfHubHTTPError, OSError) as error:
        raise StoreError(
            Problem(where, f"the hub does not answer ({type(error).__name__}), and its cache has no copy",
                    value=model_id, fix="check the network, or give a file:// or s3:// folder as airtune.baseModel")
        ) from error  # fmt: skip


def _parts(tensors: tuple[Tensor, ...]) -> dict[str, int]:
    # By the checkpoint's own names, which older checkpoints have otherwise than transformers' modules do.
    parts: dict[str, int] = {}
    for tensor in tensors:
        if _PROJECTOR.search(tensor.name):
            part = "projector"
        elif _VISION.search(tensor.name):
            part = "vision"
        elif "lm_head" in tensor.name:
            part = "head"
        elif "embed" in tensor.name:
            part = "embeddings"
        else:
            part = "language"
        parts[part] = parts.get(part, 0) + tensor.parameters
    return parts


def _pixel_limit(processor: Mapping[str, Any]) -> int | None:
    image = processor.get("image_processor")
    settings: Mapping[str, Any] = image if isinstance(image, Mapping) else processor
    if "merge_size" not in settings:
        return None  # only the Qwen family's processors scale by area; elsewhere the edges are lengths, or tiles decide
    size = settings.get("size")
    limit = size.get("longest_edge") if isinstance(size, Mapping) else None
    return _whole(settings.get("max_pixels")) or _whole(limit)


def _pixels_per_token(config: Mapping[str, Any]) -> int | None:
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping):
        return None
    patch, merge = _whole(vision.get("patch_size")), _whole(vision.get("spatial_merge_size"))
    return (patch * merge) ** 2 if patch and merge else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
