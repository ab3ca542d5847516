"""The command of each stage: one argv, whether a task, a pod or a person runs it."""

from __future__ import annotations

from typing import Final

from airtune.errors import Problem, SettingsError

PLAIN_STAGES: Final = ("validate", "resolve", "gate", "publish")
"""Stages that are one Python process: ``airtune STAGE RUN_URI``."""

ACCELERATED_STAGES: Final = {"train": "airtune.training", "evaluate": "airtune.evaluation"}
"""Stages that accelerate launches, and the module of each."""

STAGES: Final = ("validate", "resolve", "train", "evaluate", "gate", "publish")
"""Every stage, in the order in which a run takes them; the names of the records under ``status/``."""


def plain_argv(stage: str, run_uri: str) -> list[str]:
    """The argv of a stage that needs no launcher, for example ``airtune resolve s3://bucket/runs/one``.

    Raises:
        SettingsError: there is no such stage.
    """
    if stage not in PLAIN_STAGES:
        raise SettingsError(Problem("stage", "unknown", value=stage, allowed=", ".join(PLAIN_STAGES)))
    return ["airtune", stage, run_uri]


def accelerate_argv(stage: str, run_uri: str, *, gpus: int = 1) -> list[str]:
    """The argv of a stage that accelerate launches: ``accelerate launch ... -m airtune.training RUN_URI``.

    Everything accelerate would otherwise ask a configuration file for is said here, so that the same line does
    the same on every machine. Precision is left to the resolved run: the trainer knows it, the launcher does not.

    Args:
        stage: ``train`` or ``evaluate``.
        run_uri: the run.
        gpus: devices on this node; with 0 or 1 there is one process, which takes a GPU when there is one.

    Raises:
        SettingsError: there is no such stage.
    """
    module = ACCELERATED_STAGES.get(stage)
    if module is None:
        raise SettingsError(Problem("stage", "unknown", value=stage, allowed=", ".join(ACCELERATED_STAGES)))
    several = ["--multi_gpu"] if gpus > 1 else []
    return [
        *("accelerate", "launch"),
        *several,
        *("--num_processes", str(max(1, gpus))),
        *("--num_machines", "1"),
        *("--mixed_precision", "no"),
        *("--dynamo_backend", "no"),
        *("-m", module, run_uri),
    ]
