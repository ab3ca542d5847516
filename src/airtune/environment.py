"""Every environment variable that airtune itself reads, in one place.

S3 is configured by the variables that boto3 documents (``AWS_ENDPOINT_URL_S3``,
``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION`` ...), not by names of our own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from airtune.errors import Problem, SettingsError

Default = TypeVar("Default", float, None)


@dataclass(frozen=True)
class Environment:
    """What the surroundings of a process decide.

    Attributes:
        home: where airtune keeps its own state (``AIRTUNE_HOME``; default ``.airtune`` in the current folder).
        store: URI under which ``runs/`` and ``models/`` lie (``AIRTUNE_STORE``; default a folder in ``home``).
        configs: folder that replaces the shipped ``include/configs`` (``AIRTUNE_CONFIGS``), or None.
        allowed_sources: URI prefixes from which datasets and base models may be read
            (``AIRTUNE_ALLOWED_SOURCES``, separated by commas); empty allows all.
        allow_remote_code: whether a catalog entry may run code that ships with a model
            (``AIRTUNE_ALLOW_REMOTE_CODE=1``).
        store_patience: seconds to go on trying when a store has stopped answering
            (``AIRTUNE_STORE_PATIENCE``; default 180).
        gpu_memory_gb: memory of the GPUs that train, where the machine that resolves has none
            (``AIRTUNE_GPU_MEMORY_GB``), or None.
        feature_cache_gb: room in 10^9 bytes for vision features below ``home``
            (``AIRTUNE_FEATURE_CACHE_GB``; default 20, 0 keeps none).
        image_cache_gb: room in 10^9 bytes for copies of images from S3 below ``home``
            (``AIRTUNE_IMAGE_CACHE_GB``; default 50, 0 keeps none for longer than it is used).
        gpus: GPUs that training takes on its node, 0 for the CPU (``AIRTUNE_GPUS``); None: one, where there is one.
        image: the container image this process runs in, with its digest (``AIRTUNE_IMAGE``), or None.
        airflow_url: address of the Airflow that the commands talk to (``AIRTUNE_AIRFLOW_URL``); None: the one that
            ``airtune up`` started.
        airflow_username: a user of it (``AIRTUNE_AIRFLOW_USERNAME``).
        airflow_password: the user's password (``AIRTUNE_AIRFLOW_PASSWORD``).
        airflow_token: a token instead of the two (``AIRTUNE_AIRFLOW_TOKEN``).
    """

    home: Path
    store: str
    configs: Path | None
    allowed_sources: tuple[str, ...]
    allow_remote_code: bool
    store_patience: float = 180.0
    gpu_memory_gb: float | None = None
    gpus: int | None = None
    feature_cache_gb: float = 20.0
    image_cache_gb: float = 50.0
    image: str | None = None
    airflow_url: str | None = None
    airflow_username: str = ""
    airflow_password: str = field(default="", repr=False)
    airflow_token: str = field(default="", repr=False)

    @classmethod
    def read(cls, variables: Mapping[str, str] | None = None) -> Environment:
        """The environment as the given variables (default: this process's) have it."""
        given = os.environ if variables is None else variables
        home = Path(given.get("AIRTUNE_HOME") or ".airtune").absolute()
        configs = given.get("AIRTUNE_CONFIGS")
        return cls(
            home=home,
            store=(given.get("AIRTUNE_STORE") or (home / "store").as_uri()).rstrip("/"),
            configs=Path(configs).absolute() if configs else None,
            allowed_sources=tuple(
                part.strip() for part in given.get("AIRTUNE_ALLOWED_SOURCES", "").split(",") if part.strip()
            ),
            allow_remote_code=given.get("AIRTUNE_ALLOW_REMOTE_CODE") == "1",
            image=given.get("AIRTUNE_IMAGE") or None,
            store_patience=_seconds(given.get("AIRTUNE_STORE_PATIENCE"), 180.0),
            gpu_memory_gb=_gigabytes(given, "AIRTUNE_GPU_MEMORY_GB", None),
            gpus=_count(given.get("AIRTUNE_GPUS")),
            feature_cache_gb=_gigabytes(given, "AIRTUNE_FEATURE_CACHE_GB", 20.0, none_allowed=True),
            image_cache_gb=_gigabytes(given, "AIRTUNE_IMAGE_CACHE_GB", 50.0, none_allowed=True),
            airflow_url=given.get("AIRTUNE_AIRFLOW_URL") or None,
            airflow_username=given.get("AIRTUNE_AIRFLOW_USERNAME", ""),
            airflow_password=given.get("AIRTUNE_AIRFLOW_PASSWORD", ""),
            airflow_token=given.get("AIRTUNE_AIRFLOW_TOKEN", ""),
        )


def _seconds(text: str | None, default: float) -> float:
    try:
        seconds = float(text) if text else default
    except ValueError:
        return default
    return seconds if 0 <= seconds < 86_400 else default


def _count(text: str | None) -> int | None:
    if not text or not text.strip():
        return None
    if not (text.strip().isascii() and text.strip().isdigit()):
        raise SettingsError(Problem("AIRTUNE_GPUS", "is no number of GPUs", value=text, fix="for example 4"))
    return int(text)


def _gigabytes(given: Mapping[str, str], name: str, default: Default, *, none_allowed: bool = False) -> float | Default:
    text = given.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (0 < value < 1e6 or (none_allowed and value == 0)):
        raise SettingsError(Problem(name, "is no number of GB", value=text, fix="for example 24"))
    return value
