"""The platform engineer's settings."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from airtune.errors import SettingsError
from airtune_airflow.settings import Settings


def test_nothing_set_means_local_processes_and_the_pool_that_always_exists() -> None:
    settings = Settings.read({})
    assert (settings.backend, settings.pool, settings.gpus) == ("local", "default_pool", None)


def test_everything_that_is_set_is_read() -> None:
    settings = Settings.read(
        {
            "AIRTUNE_BACKEND": "kubernetes",
            "AIRTUNE_IMAGE": "registry.example/airtune:1",
            "AIRTUNE_GPUS": "0",
            "AIRTUNE_GRACE_SECONDS": "90",
            "AIRTUNE_TRAIN_TIMEOUT_HOURS": "5",
            "AIRTUNE_POD_TEMPLATE": "/etc/airtune/pod.yaml",
        }
    )
    assert settings.gpus == 0
    assert settings.grace == timedelta(seconds=90)
    assert settings.train_timeout == timedelta(hours=5)
    assert settings.pod_template == Path("/etc/airtune/pod.yaml")


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.read({"AIRTUNE_BACKEND": "docker", "AIRTUNE_GPUS": "-1", "AIRTUNE_GRACE_SECONDS": "soon"})
    text = str(caught.value)
    assert "AIRTUNE_BACKEND" in text
    assert "local, kubernetes" in text
    assert "AIRTUNE_GPUS" in text
    assert "AIRTUNE_GRACE_SECONDS" in text


def test_kubernetes_without_an_image_is_refused() -> None:
    with pytest.raises(SettingsError, match="AIRTUNE_IMAGE"):
        Settings.read({"AIRTUNE_BACKEND": "kubernetes"})


def test_every_variable_that_is_read_is_explained_on_the_class_and_in_the_documentation() -> None:
    project = Path(__file__).resolve().parents[2]
    source = (project / "plugins/airtune_airflow/settings.py").read_text()
    read = set(re.findall(r'reader\.\w+\("(AIRTUNE_\w+)"', source))
    assert len(read) > 10
    assert read <= set(re.findall(r"``(AIRTUNE_\w+)``", Settings.__doc__ or ""))
    assert read <= set(re.findall(r"`(AIRTUNE_\w+)`", (project / "docs/airflow.md").read_text()))


def test_several_gpus_of_one_node_can_be_asked_for() -> None:
    assert Settings.read({"AIRTUNE_GPUS": "4"}).gpus == 4
