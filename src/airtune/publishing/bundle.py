"""Puts the bundle together in the workspace: ``model_full/`` and, for LoRA, ``model_adapter/``.

For LoRA ``model_full/`` is the base, not merged: its weights with everything that is needed to serve it. For SFT it
is what training wrote, and what it did not write (tokenizer, chat template ...) comes from the base.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from airtune.errors import DefectError, Problem
from airtune.publishing.picture_limit import limit_pictures
from airtune.publishing.run_document import published_run
from airtune.publishing.tokens import token_ids
from airtune.publishing.weights import header, refuse_pickles, weight_files
from airtune.runspec.resolved import ResolvedRun
from airtune.stores import layout
from airtune.stores.base import PRIVATE_PREFIX, FileRecord, ProgressCallback
from airtune.stores.hashing import sha256_of_file
from airtune.stores.opening import local_path, open_store
from airtune.stores.run_directory import RunDirectory
from airtune.stores.trees import ProgressMeter

ADAPTER_FILES: Final = ("adapter_config.json", "adapter_model.safetensors")

_COMPANIONS: Final = (".json", ".jinja", ".txt", ".model", ".tiktoken")
_LICENCES: Final = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
_TEMPLATES: Final = "additional_chat_templates"


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was put together.

    Attributes:
        folders: ``model_full`` and, for LoRA, ``model_adapter``: below the workspace.
        base: folder of the base model.
        base_weights: names of its weight files.
    """

    folders: tuple[str, ...]
    base: Path
    base_weights: tuple[str, ...]

    def base_model_digest(self, published: Iterable[FileRecord]) -> str:
        """sha256 (hex) over the names and sha256 of the base's weight files.

        Args:
            published: records of the run's files; where they hold the base (LoRA) it is not read again.
        """
        known = {record.path: record.sha256 for record in published} if len(self.folders) > 1 else {}
        lines = [
            f"{name}\t{known.get(f'{layout.MODEL_FULL}/{name}') or sha256_of_file(self.base / name)}"
            for name in self.base_weights
        ]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def assemble(run: RunDirectory, resolved: ResolvedRun, base: Path, progress: ProgressCallback | None = None) -> Bundle:
    """Put the bundle into the workspace; what is there already and equal stays as it is.

    Args:
        run: with its trained weights fetched.
        resolved: its settings.
        base: folder of the base model on this machine.
        progress: told of the bytes that are copied.

    Raises:
        SettingsError: the base or the trained model has no complete safetensors weights, or a pickle.
        DefectError: training left no adapter, or not a whole one.
    """
    full = run.workspace / layout.MODEL_FULL
    is_adapter = resolved.training_mode == "LoRA"
    weights = weight_files(base)
    if is_adapter:
        _check_adapter(run.workspace / layout.MODEL_ADAPTER)
        wanted = {**_companions(base), **{name: base / name for name in weights}}
        _remove_others(full, {*wanted, layout.RUN_JSON})
    else:
        weight_files(full, where=f"{run.uri}/{layout.MODEL_FULL}")
        wanted = {name: path for name, path in _companions(base).items() if not (full / name).exists()}
    refuse_pickles(full)
    may_link = local_path(run.uri) is None
    meter = ProgressMeter(len(wanted), sum(path.stat().st_size for path in wanted.values()), progress)
    for name, source in wanted.items():
        _place(source, full / name, may_link=may_link and source.suffix == ".safetensors", meter=meter)
    if resolved.max_pixels is not None:
        limit_pictures(full, resolved.max_pixels)
    _write_if_changed(full / layout.RUN_JSON, published_run(run, resolved, token_ids(full)))
    folders = (layout.MODEL_FULL, layout.MODEL_ADAPTER) if is_adapter else (layout.MODEL_FULL,)
    return Bundle(folders, base, tuple(weights))


def _companions(base: Path) -> dict[str, Path]:
    """Everything of a model but its weights: configuration, tokenizer, processor, chat templates, licence."""
    found = {}
    for path in sorted(base.iterdir()):
        is_licence = path.stem.upper().startswith(_LICENCES)
        index = path.name.endswith(".index.json")  # comes with the weights it belongs to, or not at all
        ours = path.name == layout.RUN_JSON or path.name.startswith(".")
        if path.is_file() and (path.suffix in _COMPANIONS or is_licence) and not index and not ours:
            found[path.name] = path
    if (base / _TEMPLATES).is_dir():
        found |= {f"{_TEMPLATES}/{path.name}": path for path in sorted((base / _TEMPLATES).glob("*.jinja"))}
    return found


def _check_adapter(folder: Path) -> None:
    missing = [folder / name for name in ADAPTER_FILES if not (folder / name).is_file()]
    if missing:
        raise DefectError(
            Problem(str(path), "is missing: training has left no whole adapter", fix="run `airtune train` again")
            for path in missing
        )
    refuse_pickles(folder)
    try:
        tensors = header(folder / ADAPTER_FILES[1])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DefectError(
            Problem(str(folder / ADAPTER_FILES[1]), f"is not a whole safetensors file: {error}",
                    fix="run `airtune train` again")
        ) from error  # fmt: skip
    if not tensors:
        raise DefectError(Problem(str(folder / ADAPTER_FILES[1]), "holds no tensor", fix="run `airtune train` again"))


def _place(source: Path, target: Path, *, may_link: bool, meter: ProgressMeter) -> None:
    """Makes ``target`` equal to ``source``: by a hard link where the workspace is a copy anyway, else by copying."""
    if target.exists():
        if target.samefile(source) or filecmp.cmp(source, target, shallow=False):
            return
        target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    if may_link:
        try:
            os.link(source.resolve(), target)
        except OSError:  # another file system, or none that knows links
            pass
        else:
            return
    open_store(target.parent.as_uri()).upload_file(source, target.name, meter.add_bytes)


def _write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        open_store(path.parent.as_uri()).write(path.name, text.encode("utf-8"))


def _remove_others(folder: Path, wanted: set[str]) -> None:
    """What an earlier try with another base has left does not belong to this bundle."""
    for name in _names(folder):
        if name not in wanted:
            (folder / name).unlink()


def _names(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith(PRIVATE_PREFIX):
            yield path.relative_to(folder).as_posix()
