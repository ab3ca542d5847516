"""manifest.json: every file of a published run with size and sha256, and what the model was made of."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from airtune.environment import Environment
from airtune.errors import DefectError, Problem
from airtune.runspec.resolved import ResolvedRun
from airtune.stores import layout
from airtune.stores.base import FileRecord
from airtune.stores.run_directory import RunDirectory

SCHEMA: Final = "airtune-manifest-1"

_PACKAGES: Final = (
    "airtune", "accelerate", "bitsandbytes", "numpy", "peft", "safetensors", "tokenizers", "torch", "torchvision",
    "transformers",
)  # fmt: skip


@dataclass(frozen=True)
class Manifest:
    """A manifest that lies in the store.

    Attributes:
        files: every file of the run directory but those that still change.
        document: the whole JSON object.
        sha256: of the file's bytes, in hex.
    """

    files: tuple[FileRecord, ...]
    document: Mapping[str, Any]
    sha256: str

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(record.size for record in self.files)


def read_manifest(run: RunDirectory) -> Manifest | None:
    """The run's manifest, or None while it is not published.

    Raises:
        DefectError: there is one and it cannot be read.
    """
    found = run.store.read_versioned(layout.MANIFEST)
    return None if found is None else _parsed(found[0], f"{run.uri}/{layout.MANIFEST}")


def create_manifest(run: RunDirectory, document: Mapping[str, Any]) -> Manifest:
    """Write the manifest, once: if somebody else was faster, theirs is returned when it lists the same files.

    Raises:
        DefectError: there is a manifest that lists other files.
    """
    data = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
    if run.store.create(layout.MANIFEST, data):
        return _parsed(data, run.uri)
    there = read_manifest(run)
    if there is None or there.document.get("files") != document["files"]:
        raise DefectError(
            Problem(f"{run.uri}/{layout.MANIFEST}", "exists and lists other files: the run was published already",
                    fix="start a new run")
        )  # fmt: skip
    return there


def describe(
    run: RunDirectory, resolved: ResolvedRun, files: Iterable[FileRecord], base_model_digest: str
) -> dict[str, Any]:
    """The manifest's content.

    Args:
        run: with ``model_full`` and ``dataset`` in its workspace.
        resolved: its settings.
        files: what was verified in the store.
        base_model_digest: of the base's weights.
    """
    facts = _json(run.workspace / layout.FACTS)
    return {
        "schema": SCHEMA,
        "run_id": run.run_id,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": [asdict(record) for record in sorted(files, key=lambda record: record.path.encode())],
        "versions": _versions(),
        "digests": {
            "data": facts.get("fingerprint"),
            "evaluation_set": facts.get("evaluation_set_digest"),
            "base_model": base_model_digest,
            "chat_template": _chat_template_digest(run.workspace / layout.MODEL_FULL),
            "image": Environment.read().image,
        },
        "seeds": {"training": resolved.seed, "sampling": resolved.sampling.seed},
    }


def check_unchanged(run: RunDirectory, manifest: Manifest) -> None:
    """Makes sure that every file of a published run is still there with its size.

    Raises:
        DefectError: some are not; each is named.
    """
    there = {info.key: info.size for info in run.store.list()}
    problems = [
        Problem(f"{run.uri}/{record.path}", "was published and has been changed or removed since",
                value="missing" if record.path not in there else f"{there[record.path]:,} bytes",
                allowed=f"{record.size:,} bytes", fix="restore it, or start a new run")
        for record in manifest.files
        if there.get(record.path) != record.size
    ]  # fmt: skip
    if problems:
        raise DefectError(problems)


def _parsed(data: bytes, where: str) -> Manifest:
    try:
        document = json.loads(data)
        files = tuple(FileRecord(entry["path"], entry["size"], entry["sha256"]) for entry in document["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise DefectError(Problem(where, "is not a manifest", value=type(error).__name__)) from error
    return Manifest(files, document, hashlib.sha256(data).hexdigest())


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _chat_template_digest(folder: Path) -> str | None:
    """sha256 (hex) of the chat template's text, wherever the model keeps it."""
    template: Any = None
    if (folder / "chat_template.jinja").is_file():
        template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        template = template or _json(folder / name).get("chat_template")
    if template is None:
        return None
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
