"""A run.json before it is sent: local paths become URIs, and everything that is wrong is told at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airtune.embedded.submission import prepare
from airtune.errors import SettingsError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run.json, a dataset and a model below it; the current folder is another one."""
    for name in ("runs", "runs/data", "model", "here/data"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def _write(folder: Path, *, source: str | None, base: str | None, epochs: object = 1) -> Path:
    dataset: dict[str, Any] = {"projectKind": "vqa"}
    model: dict[str, Any] = {
        "architecture": {"name": "qwen3vl", "size": "2B"},
        "hyperparameters": {"epochs": epochs},
    }
    if source is not None:
        dataset["airtune"] = {"source": source}
    if base is not None:
        model["airtune"] = {"baseModel": base}
    blocks = [
        {"block": "dataset", "settings": dataset, "style": {}},
        {"block": "model", "settings": model, "style": {}},
    ]
    flow = {"name": "n", "schema": "v1", "tolerations": {}, "settings": {}, "blocks": blocks}
    path = folder / "runs" / "run.json"
    path.write_text(json.dumps({"spec": {"flow": flow}}))
    return path


def test_paths_in_the_file_are_relative_to_its_own_folder(folder: Path) -> None:
    made = prepare(_write(folder, source="data", base="../model"), [], home=None)
    assert made.document.spec.dataset.source == (folder / "runs" / "data").as_uri()
    assert made.document.spec.model.base_model == (folder / "model").as_uri()


def test_paths_of_assignments_are_relative_to_the_current_folder(folder: Path) -> None:
    file = _write(folder, source="not/there/but/replaced", base=None)
    made = prepare(file, ["dataset=data", "base-model=../model"], home=None)
    assert made.overrides == {"dataset": (folder / "here" / "data").as_uri(), "base-model": (folder / "model").as_uri()}


def test_uris_and_ids_of_the_hub_stay_as_they_are(folder: Path) -> None:
    made = prepare(_write(folder, source="s3://bucket/data", base="Qwen/Qwen3-VL-2B-Instruct"), [], home=None)
    assert made.document.spec.dataset.source == "s3://bucket/data"
    assert made.document.spec.model.base_model == "Qwen/Qwen3-VL-2B-Instruct"


def test_the_rest_of_the_file_is_sent_as_it_was_written(folder: Path) -> None:
    file = _write(folder, source="s3://bucket/data", base=None)
    raw = json.loads(file.read_text())
    raw["of another version"] = {"n": 1.0}
    file.write_text(json.dumps(raw))
    assert prepare(file, ["epochs=3"], home=None).conf() == {"run": raw, "overrides": {"epochs": 3}}


def test_everything_that_is_wrong_is_told_at_once(folder: Path) -> None:
    file = _write(folder, source="s3://bucket/data", base=None, epochs=0)
    with pytest.raises(SettingsError) as caught:
        prepare(file, ["nonsense=1", "dataset=/nowhere", "base-model=/neither", "no assignment"], home=None)
    where = [problem.where for problem in caught.value.problems]
    assert {"--set", "--set nonsense", "--set dataset", "--set base-model"} < set(where)
    assert "spec.flow.blocks[1].settings.hyperparameters.epochs" in where


def test_a_file_that_is_not_there_is_told_in_words(folder: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        prepare(folder / "none.json", [], home=None)


def test_a_demos_dataset_is_made_when_a_run_is_sent_and_not_when_it_is_looked_at(folder: Path) -> None:
    file = _write(folder, source="demo://shapes", base=None)
    assert prepare(file, [], home=None).document.spec.dataset.source == "demo://shapes"
    home = folder / "home"
    assert not home.exists()
    made = prepare(file, [], home=home).document.spec.dataset.source
    assert made == (home / "demo" / "datasets" / "shapes").as_uri()
    assert len(list((home / "demo" / "datasets" / "shapes").rglob("*.png"))) == 360


def test_a_demo_dataset_that_does_not_exist_is_refused_with_those_that_do(folder: Path) -> None:
    with pytest.raises(SettingsError, match="demo://digits"):
        prepare(_write(folder, source="demo://nothing", base=None), [], home=None)
