"""The task of a stage that accelerate launches: training and evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final

from airtune.launch import EVALUATION, TRAINING, accelerate_argv
from airtune_airflow.operators.stage_pod import StagePodOperator
from airtune_airflow.settings import Settings

MODULES: Final[Mapping[str, str]] = MappingProxyType({"train": TRAINING, "evaluate": EVALUATION})
"""The stages, and the module that accelerate launches for each."""


class AcceleratePodOperator(StagePodOperator):
    """Runs ``accelerate launch -m airtune.training RUN_URI`` (or ``airtune.evaluation``) as a process or a pod.

    Args:
        stage: ``train`` or ``evaluate``.
        kwargs: those of :class:`StagePodOperator`. The default deadline is ``AIRTUNE_TRAIN_TIMEOUT_HOURS``.
    """

    ui_color = "#dde8fb"
    accelerated: ClassVar[bool] = True

    def __init__(self, *, stage: str, **kwargs: Any) -> None:
        if stage not in MODULES:
            raise ValueError(f"stage {stage!r} is not launched by accelerate; allowed: {', '.join(MODULES)}")
        super().__init__(stage=stage, **kwargs)

    def argv(self, *, gpus: int) -> list[str]:
        """The stage's command, as ``airtune train`` and ``airtune evaluate`` run it, too."""
        from airtune.stores.resolution import trains_every_parameter

        sharded = gpus > 1 and trains_every_parameter(self.run_uri)
        return accelerate_argv(MODULES[self.stage], self.run_uri, gpus=gpus, sharded=sharded)

    def gpus(self, settings: Settings) -> int:
        """``AIRTUNE_GPUS``; where it is not set, one on Kubernetes, and on a worker one when it has any.

        An evaluation takes one at most: it answers on a single device.
        """
        if settings.gpus is not None:
            return settings.gpus if self.stage == "train" else min(settings.gpus, 1)
        if self.backend == "kubernetes":
            return 1
        return 1 if Path("/dev/nvidia0").exists() else 0

    def _default_deadline(self, settings: Settings) -> timedelta:
        return settings.train_timeout
