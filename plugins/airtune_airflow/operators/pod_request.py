"""The pod of a stage as Kubernetes is asked for it: a plain mapping, built from YAML templates.

``include/configs/kubernetes/pod.yaml`` is the base of every pod, ``gpu-pod.yaml`` lies over it for training and
evaluation, and the platform engineer's own templates lie over both. What a run decides comes last.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from airtune.configs import config_file
from airtune.errors import Problem, SettingsError
from airtune_airflow.settings import Settings

CONTAINER: Final = "base"
"""Name of the container that runs the stage; others in a template are sidecars."""

RUN_LABEL: Final = "airtune/run-id"
STAGE_LABEL: Final = "airtune/stage"

PASSED_ON: Final = (
    "AIRTUNE_STORE",
    "AIRTUNE_ALLOWED_SOURCES",
    "AIRTUNE_ALLOW_REMOTE_CODE",
    "AIRTUNE_GPU_MEMORY_GB",
    "AIRTUNE_GPUS",
    "AIRTUNE_STORE_PATIENCE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
)
"""Variables of the worker that pods are given too, unless a template sets them. None of them is a secret."""

_GPU: Final = "nvidia.com/gpu"
_AFTER_GRACE_S: Final = 15  # the guard kills before Kubernetes does, and can say so

# Lists that are merged item by item, and the key that tells items apart; every other list is replaced.
_MERGED_LISTS: Final = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "imagePullSecrets": "name",
}


@dataclass(frozen=True)
class StagePod:
    """What a pod is made for.

    Attributes:
        argv: the stage's command.
        run_uri: the run.
        stage: which of its stages.
        gpus: how many GPUs the container gets; 0 for none.
        accelerated: whether the template for training and evaluation applies.
        deadline_s: after how many seconds Kubernetes ends the pod, whoever watches.
        attempt: Airflow's number of the try.
    """

    argv: Sequence[str]
    run_uri: str
    stage: str
    gpus: int
    accelerated: bool
    deadline_s: int
    attempt: int


def pod_request(stage: StagePod, settings: Settings) -> dict[str, Any]:
    """The request for a stage's pod, without the name and the labels that Airflow's provider adds.

    Raises:
        SettingsError: a template cannot be read or is not one of a pod, or no image is named.
    """
    template = pod_template(settings, accelerated=stage.accelerated)
    container = _container(template)
    image = settings.image or container.get("image")
    if not image:
        raise SettingsError(Problem("AIRTUNE_IMAGE", "is not set", fix="name the trainer's image"))
    grace_s = int(settings.grace.total_seconds())
    given = {variable["name"] for variable in container.get("env", [])}
    env = [
        {"name": name, "value": os.environ[name]} for name in PASSED_ON if os.environ.get(name) and name not in given
    ]
    run_id = stage.run_uri.rstrip("/").rpartition("/")[2]
    decided_env = {"AIRTUNE_IMAGE": str(image), "AIRTUNE_RUN_ID": run_id, "AIRTUNE_TRY": str(stage.attempt)}
    env += [{"name": name, "value": value} for name, value in decided_env.items()]
    decided: dict[str, Any] = {
        "image": image,
        "command": ["python", "-m", "airtune.guard", "--grace", str(grace_s), "--"],
        "args": list(stage.argv),
        "env": env,
    }
    if settings.s3_secret:
        secret = {"secretRef": {"name": settings.s3_secret}}
        decided["envFrom"] = [*container.get("envFrom", []), secret]
    if stage.gpus:
        decided["resources"] = {"limits": {_GPU: str(stage.gpus)}}
    return merged(
        template,
        {
            "metadata": {
                "labels": {RUN_LABEL: label_value(run_id), STAGE_LABEL: stage.stage},
                "annotations": {"airtune/run-uri": stage.run_uri},
            },
            "spec": {
                "activeDeadlineSeconds": stage.deadline_s,
                "terminationGracePeriodSeconds": grace_s + _AFTER_GRACE_S,
                "containers": [{"name": CONTAINER, **decided}],
            },
        },
    )


def pod_template(settings: Settings, *, accelerated: bool) -> dict[str, Any]:
    """The templates of airtune and of the platform engineer, laid over each other.

    Raises:
        SettingsError: one cannot be read, or is not a pod.
    """
    files = [config_file("kubernetes", "pod.yaml")]
    if accelerated:
        files.append(config_file("kubernetes", "gpu-pod.yaml"))
    files += [path for path in (settings.pod_template, settings.gpu_pod_template if accelerated else None) if path]
    template: dict[str, Any] = {}
    for path in files:
        template = merged(template, _read(path))
    return template


def merged(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """``top`` laid over ``base``, as ``kubectl apply`` would.

    Mappings are merged; containers, volumes, variables and mounts are merged by name (mounts by path); every other
    list is replaced; a null removes the key.
    """
    result = dict(base)
    for key, value in top.items():
        before = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(before, Mapping):
            result[key] = merged(before, value)
        elif isinstance(value, Sequence) and isinstance(before, Sequence) and key in _MERGED_LISTS:
            result[key] = _merged_list(before, value, _MERGED_LISTS[key])
        else:
            result[key] = value
    return result


def label_value(text: str) -> str:
    """``text`` as the value of a label: at most 63 characters; another text never becomes the same value."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", text).strip("._-")
    if plain == text and len(text) <= 63:
        return text
    return f"{plain[:52].strip('._-')}-{hashlib.sha256(text.encode()).hexdigest()[:10]}".lstrip("-")


def _merged_list(base: Sequence[Any], top: Sequence[Any], name: str) -> list[Any]:
    items = {item[name]: item for item in base}
    for item in top:
        items[item[name]] = merged(items.get(item[name], {}), item)
    return list(items.values())


def _container(template: Mapping[str, Any]) -> Mapping[str, Any]:
    for container in template["spec"]["containers"]:
        if container["name"] == CONTAINER:
            return dict(container)
    raise SettingsError(Problem("include/configs/kubernetes/pod.yaml", f"has no container named {CONTAINER!r}"))


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(Problem(str(path), f"cannot be read: {error.strerror}")) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(Problem(str(path), f"is not YAML: {error}")) from error
    problem = _problem_of(document)
    if problem:
        raise SettingsError(Problem(str(path), problem, fix="see include/configs/kubernetes/pod.yaml"))
    return dict(document)


def _problem_of(document: Any) -> str | None:
    """What keeps a document from being laid over a pod, or None."""
    if not isinstance(document, Mapping) or document.get("kind", "Pod") != "Pod":
        return "is not the template of a pod (kind: Pod)"
    spec = document.get("spec", {})
    if not isinstance(spec, Mapping):
        return "spec is not a mapping"
    holders = [("spec", spec)]
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(kind) or []):
            if isinstance(container, Mapping):
                holders.append((f"spec.{kind}[{index}]", container))
    for where, holder in holders:
        for key, name in _MERGED_LISTS.items():
            items = holder.get(key)
            if items is None:
                continue
            if not isinstance(items, list) or not all(isinstance(each, Mapping) and each.get(name) for each in items):
                return f"{where}.{key} is not a list of items that each have a {name}"
    return None
