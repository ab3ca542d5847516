"""What the platform engineer decides: every AIRTUNE_* variable that Airflow's side reads, in one place.

Set them in the environment of all of Airflow's components. Those of the stages themselves (``AIRTUNE_HOME``,
``AIRTUNE_STORE``, ``AIRTUNE_ALLOWED_SOURCES`` ...) are in :mod:`airtune.environment`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal

from airtune.errors import Problem, SettingsError

Backend = Literal["local", "kubernetes"]

BACKENDS: Final[tuple[Backend, ...]] = ("local", "kubernetes")


@dataclass(frozen=True)
class Settings:
    """The variables, read and checked.

    Attributes:
        backend: where stages run: ``local``, a child process on the worker, or ``kubernetes``, a pod
            (``AIRTUNE_BACKEND``; default ``local``).
        gpus: GPUs that training takes, all on one node, 0 for the CPU (``AIRTUNE_GPUS``). None where it is not set: one
            on Kubernetes; on a worker, one when it has any. An evaluation takes one of them.
        pool: Airflow pool of the tasks that take a GPU (``AIRTUNE_POOL``; default ``default_pool``, which always
            exists). Make one with as many slots as there are GPUs and name it here.
        max_active_runs: runs of ``vlm_finetune`` at the same time (``AIRTUNE_MAX_ACTIVE_RUNS``; default 4).
        grace: how long a stage that is told to stop may take to save its work (``AIRTUNE_GRACE_SECONDS``; default 120).
        train_timeout: longest training and longest evaluation, also the pod's deadline
            (``AIRTUNE_TRAIN_TIMEOUT_HOURS``; default 72).
        stage_timeout: the same for every other stage (``AIRTUNE_STAGE_TIMEOUT_HOURS``; default 12).
        images_per_task: images above which a dataset's are looked at by several tasks at the same time, and about how
            many each of them takes (``AIRTUNE_IMAGES_PER_TASK``; default 20000).
        image: the trainer's image, needed on Kubernetes (``AIRTUNE_IMAGE``).
        namespace: where pods are made (``AIRTUNE_NAMESPACE``; default: that of the connection, or Airflow's own).
        kubernetes_conn_id: Airflow connection of the cluster (``AIRTUNE_KUBERNETES_CONN_ID``; default
            ``kubernetes_default``; without such a connection: the cluster Airflow runs in, or ``KUBECONFIG``).
        s3_secret: Kubernetes Secret whose keys become environment variables of the pods: ``AWS_ACCESS_KEY_ID`` ...
            (``AIRTUNE_S3_SECRET``).
        pod_template: YAML file laid over ``include/configs/kubernetes/pod.yaml`` for every pod
            (``AIRTUNE_POD_TEMPLATE``).
        gpu_pod_template: the same, for the pods of training and evaluation (``AIRTUNE_GPU_POD_TEMPLATE``).
        schedule_timeout: how long a pod may wait for a node (``AIRTUNE_SCHEDULE_TIMEOUT_SECONDS``; default 3600: a
            node with a GPU may have to be started first).
        startup_timeout: how long a pod with a node may take to start (``AIRTUNE_STARTUP_TIMEOUT_SECONDS``; default
            1800: the image is large).
    """

    backend: Backend
    gpus: int | None
    pool: str
    max_active_runs: int
    grace: timedelta
    train_timeout: timedelta
    stage_timeout: timedelta
    images_per_task: int
    image: str | None
    namespace: str | None
    kubernetes_conn_id: str
    s3_secret: str | None
    pod_template: Path | None
    gpu_pod_template: Path | None
    schedule_timeout: timedelta
    startup_timeout: timedelta

    @classmethod
    def read(cls, variables: Mapping[str, str] | None = None) -> Settings:
        """The settings as the given variables (default: this process's environment) have them.

        Raises:
            SettingsError: some cannot be used; all of them are named.
        """
        reader = _Reader(os.environ if variables is None else variables)
        settings = cls(
            backend=reader.backend("AIRTUNE_BACKEND"),
            gpus=reader.whole("AIRTUNE_GPUS", None, least=0),
            pool=reader.text("AIRTUNE_POOL") or "default_pool",
            max_active_runs=reader.whole("AIRTUNE_MAX_ACTIVE_RUNS", 4, least=1) or 4,
            grace=reader.seconds("AIRTUNE_GRACE_SECONDS", 120),
            train_timeout=reader.hours("AIRTUNE_TRAIN_TIMEOUT_HOURS", 72),
            stage_timeout=reader.hours("AIRTUNE_STAGE_TIMEOUT_HOURS", 12),
            images_per_task=reader.whole("AIRTUNE_IMAGES_PER_TASK", 20_000, least=1) or 20_000,
            image=reader.text("AIRTUNE_IMAGE"),
            namespace=reader.text("AIRTUNE_NAMESPACE"),
            kubernetes_conn_id=reader.text("AIRTUNE_KUBERNETES_CONN_ID") or "kubernetes_default",
            s3_secret=reader.text("AIRTUNE_S3_SECRET"),
            pod_template=reader.path("AIRTUNE_POD_TEMPLATE"),
            gpu_pod_template=reader.path("AIRTUNE_GPU_POD_TEMPLATE"),
            schedule_timeout=reader.seconds("AIRTUNE_SCHEDULE_TIMEOUT_SECONDS", 3600),
            startup_timeout=reader.seconds("AIRTUNE_STARTUP_TIMEOUT_SECONDS", 1800),
        )
        templates = settings.pod_template or settings.gpu_pod_template  # one of which may name the image
        if settings.backend == "kubernetes" and settings.image is None and templates is None:
            reader.problems.append(
                Problem("AIRTUNE_IMAGE", "is needed with AIRTUNE_BACKEND=kubernetes", fix="name the trainer's image")
            )
        if reader.problems:
            raise SettingsError(reader.problems)
        return settings


class _Reader:
    """Reads variables and collects what is wrong with them."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.problems: list[Problem] = []

    def text(self, name: str) -> str | None:
        return self._variables.get(name, "").strip() or None

    def path(self, name: str) -> Path | None:
        text = self.text(name)
        return Path(text).absolute() if text else None

    def backend(self, name: str) -> Backend:
        text = self.text(name) or "local"
        for backend in BACKENDS:
            if text == backend:
                return backend
        self.problems.append(Problem(name, "unknown backend", value=repr(text), allowed=", ".join(BACKENDS)))
        return "local"

    def whole(self, name: str, default: int | None, *, least: int) -> int | None:
        text = self.text(name)
        if text is None:
            return default
        if text.isascii() and text.isdigit() and int(text) >= least:
            return int(text)
        self.problems.append(Problem(name, "not usable", value=repr(text), allowed=f"a whole number from {least} on"))
        return default

    def seconds(self, name: str, default: int) -> timedelta:
        return timedelta(seconds=self.whole(name, default, least=1) or default)

    def hours(self, name: str, default: int) -> timedelta:
        return timedelta(hours=self.whole(name, default, least=1) or default)
