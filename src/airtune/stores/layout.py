"""The names in a run directory and below ``models/``: typed here and nowhere else."""

from __future__ import annotations

import re
from typing import Final

from airtune.errors import Problem, SettingsError

RUNS: Final = "runs"
MODELS: Final = "models"

RUN_JSON: Final = "run.json"
RESOLUTION: Final = "resolution.json"
MANIFEST: Final = "manifest.json"

DATASET: Final = "dataset"
RECORDS: Final = "dataset/records.parquet"
IMAGES: Final = "dataset/images.parquet"
FACTS: Final = "dataset/facts.json"
FINGERPRINT: Final = "dataset/fingerprint"
SET_ASIDE: Final = "dataset/set-aside.jsonl"

VALIDATION: Final = "validation"
VALIDATION_RESULT: Final = "validation/result.json"
VALIDATION_REPORT: Final = "validation/report.html"
VALIDATION_DRIFT: Final = "validation/drift.json"
DATA_DOCS: Final = "validation/data-docs"
INSPECTED_PARTS: Final = "validation/parts"

TRAINING: Final = "training"
TRAINING_METRICS: Final = "training/metrics.jsonl"
TRAINING_EVALUATIONS: Final = "training/evaluations.jsonl"
TRAINING_SELFCHECK: Final = "training/selfcheck.json"
TRAINING_BATCHING: Final = "training/batching.json"
TRAINING_RESULT: Final = "training/result.json"
TRAINING_LOG: Final = "training/log.txt"

CHECKPOINTS: Final = "checkpoints"

EVALUATION: Final = "evaluation"
METRICS: Final = "evaluation/metrics.json"
PREDICTIONS: Final = "evaluation/predictions.jsonl"
EVALUATION_REPORT: Final = "evaluation/report.html"
GATE: Final = "evaluation/gate.json"

MODEL_FULL: Final = "model_full"
MODEL_ADAPTER: Final = "model_adapter"

PUBLISHING: Final = "publishing"
RELOAD: Final = "publishing/reload.json"
PUBLISH_RESULT: Final = "publishing/result.json"

STATUS: Final = "status"
REQUEST: Final = "status/request.json"
"""The run.json exactly as it was asked for: what a second ``create`` of the same run is compared with."""

LIVE: Final = (RUN_JSON, STATUS, PUBLISHING, CHECKPOINTS, MANIFEST)
"""What still changes when the manifest is written, or is the manifest: not listed in it."""

CURRENT: Final = "current.json"
HISTORY: Final = "history.jsonl"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NAME_RULE: Final = "1 to 128 of A-Z a-z 0-9 . _ -, beginning with a letter or a digit"


def inspected_part(number: int, count: int) -> str:
    """What the task that looked at one part of the images has found."""
    return f"{INSPECTED_PARTS}/{number}-of-{count}.sqlite3"


def checkpoint(step: int) -> str:
    """The folder of the checkpoint after optimizer step ``step``."""
    return f"{CHECKPOINTS}/step-{step}"


def stage_record(stage: str) -> str:
    """Where a stage's process keeps how it went."""
    return f"{STATUS}/{stage}.json"


def is_live(path: str) -> bool:
    """Whether a path of the run directory may still change after the manifest, and so is not in it.

    Names that begin with a dot are the unfinished work of a process that was killed.
    """
    parts = path.split("/")
    return path in LIVE or parts[0] in LIVE or any(part.startswith(".") for part in parts)


def check_run_id(run_id: str) -> str:
    """``run_id`` itself when it can be the name of a folder anywhere.

    Raises:
        SettingsError: it cannot.
    """
    return _check_name(run_id, "run_id")


def check_model_name(name: str) -> str:
    """``name`` itself when it can be the name of a folder below ``models/``.

    Raises:
        SettingsError: it cannot.
    """
    return _check_name(name, "spec.flow.name")


def _check_name(name: str, where: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SettingsError(
            Problem(where, "cannot be used as the name of a folder", value=repr(name)[:200], allowed=_NAME_RULE)
        )
    return name


def model_folder_name(name: str) -> str:
    """A folder name below ``models/`` for a run's ``spec.flow.name``, which may be any text.

    Returns:
        The name itself when it is one already. Otherwise every other character becomes ``-`` and eight hex
        digits of the name's sha256 follow, so that two names never share a folder.

    Raises:
        SettingsError: the name is empty.
    """
    import hashlib

    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    if not isinstance(name, str) or not name.strip():
        return check_model_name(name)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:100]
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return check_model_name(f"{plain}-{digest}" if plain else f"model-{digest}")
