"""Brings a base model to this machine: from a folder, from S3, or from the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any, Final

from airtune.catalog.derivation import NotDerivableError, derive
from airtune.catalog.entry import CatalogEntry
from airtune.catalog.registry import find
from airtune.environment import Environment
from airtune.errors import NotPermittedError, Problem, SettingsError, StoreError
from airtune.stores.base import ObjectInfo, ProgressCallback
from airtune.stores.opening import local_path, open_store
from airtune.stores.permission import check_source, is_hub_id

CONFIG: Final = "config.json"

_SUFFIXES: Final = (".json", ".safetensors", ".jinja", ".txt", ".model", ".tiktoken")
"""What a model consists of. Pickled weights (``.bin``, ``.pt``) and code are neither needed nor fetched."""


def fetch_base_model(
    source: str, cache: Path | None = None, *, where: str = "baseModel", progress: ProgressCallback | None = None
) -> Path:
    """The local folder of a base model, fetched when it is elsewhere.

    Args:
        source: ``file:///folder``, ``s3://bucket/prefix``, or an id of the hub such as ``Qwen/Qwen3-VL-4B-Instruct``.
        cache: folder for copies of S3 models; default ``cache/models`` in airtune's home. The hub has its own.
        where: how errors name the setting.
        progress: told of the bytes as they come from S3.

    Raises:
        SettingsError: there is no model there.
        NotPermittedError: the environment does not allow this source, or the hub asks for a licence to be accepted.
        StoreError: the store or the hub does not answer.
    """
    check_source(source, where=where)
    if is_hub_id(source):
        folder = _from_hub(source, where)
    else:
        folder = local_path(source) or _from_store(source, cache, where, progress)
    if not (folder / CONFIG).is_file():
        raise SettingsError(
            Problem(where, "is no folder of a model: it has no config.json", value=source,
                    fix="give the folder that holds config.json, model.safetensors and the tokenizer")
        )  # fmt: skip
    return folder


def entry_for(architecture: str, folder: Path) -> CatalogEntry:
    """The catalog's entry of an architecture, or the one that a model's own files give, as they did for its training.

    Raises:
        SettingsError: the catalog does not have it, and the files leave doubt.
    """
    from safetensors import safe_open

    found = find(architecture)
    if found is not None:
        return found
    shapes: list[tuple[str, tuple[int, ...]]] = []
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as weights:
            shapes += [(name, tuple(weights.get_slice(name).get_shape())) for name in weights.keys()]  # noqa: SIM118
    try:
        return derive(json.loads((folder / CONFIG).read_text(encoding="utf-8")), shapes)
    except (NotDerivableError, OSError, ValueError) as error:
        raise SettingsError(
            Problem("architecture.name", f"is in no catalog, and its files leave doubt where its parts are: {error}",
                    value=architecture)
        ) from error  # fmt: skip


def model_type_of(folder: Path) -> str | None:
    """The ``model_type`` in a folder's config.json; None where it cannot be read, which loading will explain."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found = config.get("model_type") if isinstance(config, dict) else None
    return found if isinstance(found, str) else None


def _from_store(source: str, cache: Path | None, where: str, progress: ProgressCallback | None) -> Path:
    store = open_store(source)
    files = [info for info in store.list() if info.key.endswith(_SUFFIXES)]
    if not any(info.key == CONFIG for info in files):
        raise SettingsError(Problem(where, "there is no model here (no config.json)", value=source))
    # The copy is named after what the listing says, so a model that is replaced is fetched again.
    folder = (cache or Environment.read().home / "cache" / "models") / _digest(source, files)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder.with_name(f".{folder.name}-{os.getpid()}-{secrets.token_hex(4)}")
        try:
            store.download_tree("", temporary, only=[info.key for info in files], progress=progress)
            try:
                temporary.rename(folder)
            except OSError:
                if not folder.is_dir():  # another process was not faster: a real failure
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _digest(source: str, files: list[ObjectInfo]) -> str:
    lines = [source, *(f"{info.key}\t{info.size}\t{info.version}" for info in files)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:24]


def _from_hub(model_id: str, where: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    patterns: Any = [f"*{suffix}" for suffix in _SUFFIXES]
    try:
        return Path(snapshot_download(model_id, allow_patterns=patterns))
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
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise StoreError(
            Problem(where, f"the hub does not answer ({type(error).__name__}), and its cache has no copy",
                    value=model_id, fix="check the network, or give a file:// or s3:// folder")
        ) from error  # fmt: skip
