"""Images that several tasks look at: what they find is what one finds, and nothing is looked at twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airtune.datasets.drawn.demo import write_demo_dataset
from airtune.datasets.parts import MOST, inspect_part, plan
from airtune.datasets.pictures import inspection
from airtune.datasets.stage import validate
from airtune.errors import DataError, SettingsError
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

IMAGES, DAMAGED = 30, 3


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Thirty pictures, of which three are cut off."""
    folder = tmp_path / "shapes"
    write_demo_dataset(folder, train=24, validation=IMAGES - 24)
    for image in sorted(folder.glob("training/images/*"))[:DAMAGED]:
        image.write_bytes(image.read_bytes()[:-40])
    return folder


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[[str, str], RunDirectory]:
    """Makes a run of a dataset."""

    def make(run_id: str, uri: str) -> RunDirectory:
        dataset: dict[str, Any] = {"projectKind": "vqa", "airtune": {"source": uri, "maximumSetAside": 0.5}}
        blocks = [
            {"block": "dataset", "settings": dataset, "style": {}},
            {"block": "model", "settings": {"architecture": {"name": "qwen3vl", "size": "2B"}}, "style": {}},
        ]
        flow = {"name": "n", "schema": "v1", "tolerations": {}, "settings": {}, "blocks": blocks}
        return RunDirectory.create((tmp_path / "store").as_uri(), run_id, json.dumps({"spec": {"flow": flow}}))

    return make


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that were decoded since."""
    names: list[str] = []
    real = inspection.decode

    def noted(data: bytes, *, name: str) -> Any:
        names.append(name)
        return real(data, name=name)

    monkeypatch.setattr(inspection, "decode", noted)
    return names


def test_small_datasets_have_no_parts_and_large_ones_as_many_as_it_takes(
    data: Path, new_run: Callable[[str, str], RunDirectory]
) -> None:
    run = new_run("r", data.as_uri())
    assert plan(run, IMAGES) == []
    assert plan(run, 12) == ["1/3", "2/3", "3/3"]
    assert len(plan(run, 1)) == min(IMAGES, MOST)


def test_a_dataset_that_cannot_be_read_has_no_parts(
    new_run: Callable[[str, str], RunDirectory], tmp_path: Path
) -> None:
    assert plan(new_run("r", (tmp_path / "nowhere").as_uri()), 1) == []


def test_what_the_parts_find_is_what_one_task_finds(
    data: Path,
    new_run: Callable[[str, str], RunDirectory],
    decoded: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone, together = new_run("alone", data.as_uri()), new_run("together", data.as_uri())
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home-alone"))
    validate(alone)
    assert len(decoded) == IMAGES
    parts = plan(together, 12)
    for number, part in enumerate(parts):  # each on a machine of its own
        monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / f"home-{number}"))
        inspect_part(together, part)
    assert len(decoded) == 2 * IMAGES
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home-together"))
    validate(together)
    assert len(decoded) == 2 * IMAGES, "nothing is looked at twice"
    for name in (layout.RECORDS, layout.IMAGES, layout.SET_ASIDE, layout.FACTS):
        assert together.store.read(name) == alone.store.read(name), name


def test_an_image_that_has_changed_since_is_looked_at_again(
    data: Path, new_run: Callable[[str, str], RunDirectory], decoded: list[str]
) -> None:
    run = new_run("r", data.as_uri())
    for part in plan(run, 15):
        inspect_part(run, part)
    changed = max(data.glob("training/images/*"))
    with Image.open(changed) as picture:
        turned = picture.transpose(Image.Transpose.ROTATE_90)
    turned.save(changed)
    decoded.clear()
    validate(run)
    assert decoded == [f"training/images/{changed.name}"]


@pytest.mark.parametrize("part", ["", "0/2", "3/2", "1", "1/2/3", "../x", "-1/2"])
def test_what_is_no_part_is_refused(part: str, data: Path, new_run: Callable[[str, str], RunDirectory]) -> None:
    with pytest.raises(SettingsError) as caught:
        inspect_part(new_run("r", data.as_uri()), part)
    assert caught.value.problems[0].where == "--part"


def test_a_part_of_a_dataset_that_is_gone_says_so(new_run: Callable[[str, str], RunDirectory], tmp_path: Path) -> None:
    with pytest.raises(DataError):
        inspect_part(new_run("r", (tmp_path / "nowhere").as_uri()), "1/2")
