"""One embedded airtune for all end-to-end tests: started and used by its own commands, as a user does it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from machine import PROJECT, TINY, Machine


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which nothing runs yet; whatever was started on it is stopped afterwards."""
    made = Machine(tmp_path_factory.mktemp("machine") / ".airtune")
    yield made
    made.airtune("down", "--grace", "0")
    assert made.left() == []


@pytest.fixture(scope="session")
def platform(machine: Machine) -> Machine:
    """The machine with ``airtune up``."""
    done = machine.airtune("up")
    assert done.returncode == 0, done.stderr
    return machine


@pytest.fixture
def store(platform: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has this process find the store of the embedded airtune."""
    for name, value in platform.state().store.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRTUNE_HOME", str(platform.home.parent / "reader"))


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few drawn pictures, 48 samples to train on and 16 to validate."""
    from airtune.datasets.drawn.demo import write_demo_dataset

    folder = tmp_path_factory.mktemp("data") / "shapes"
    write_demo_dataset(folder, train=24, validation=8)
    return folder


@pytest.fixture
def damaged_dataset(small_dataset: Path, tmp_path: Path) -> Callable[[int], Path]:
    """Makes a copy of the small dataset, of whose 24 pictures to train on as many as asked for are cut off."""

    def make(damaged: int) -> Path:
        folder = tmp_path / "damaged"
        shutil.copytree(small_dataset, folder)
        for image in sorted(folder.glob("training/images/*"))[:damaged]:
            image.write_bytes(image.read_bytes()[:-40])
        return folder

    return make


@pytest.fixture
def run_json(small_dataset: Path) -> dict[str, Any]:
    """A run.json that is good, small and quick; a copy of its own for each test."""
    made: dict[str, Any] = json.loads((PROJECT / "include" / "configs" / "runs" / "demo.json").read_text())
    dataset, model = made["spec"]["flow"]["blocks"]
    dataset["settings"]["airtune"]["source"] = small_dataset.as_uri()
    model["settings"]["airtune"]["baseModel"] = TINY.as_uri()
    return made
