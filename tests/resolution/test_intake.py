"""The first task of a run: what is refused within seconds, and what is made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airtune.errors import AirtuneError, NotPermittedError, SettingsError
from airtune.resolution.intake import load_run
from airtune.runspec.document import RunDocument
from airtune.stores import layout
from airtune.stores.opening import open_store


@pytest.fixture
def asked(dataset_uri: str, base_uri: str) -> dict[str, Any]:
    """Overrides that make any run.json runnable here."""
    return {"dataset": dataset_uri, "base_model": base_uri}


def refused(kind: type[AirtuneError], run: Any, overrides: Any, root_uri: str, run_id: str = "r1") -> list[str]:
    with pytest.raises(kind) as caught:
        load_run(run, overrides, run_id, root_uri)
    return [str(problem) for problem in caught.value.problems]


def test_a_run_of_the_platform_becomes_a_run_directory(
    platform: dict[str, Any], asked: dict[str, Any], root_uri: str
) -> None:
    run = load_run(platform, {**asked, "epochs": 2}, "r1", root_uri)
    assert run.uri == f"{root_uri}/runs/r1"
    document = RunDocument.parse(run.store.read(layout.RUN_JSON))
    assert document.spec.model.hyperparameters.epochs == 2
    assert document.spec.dataset.source == asked["dataset"]
    assert document.raw["runId"] == "r1"
    assert document.raw["status"]["conditions"] == []
    assert document.raw["metadata"]["attributes"]["sourceRunId"] == platform["runId"]


def test_the_same_call_again_returns_the_same_run(small: dict[str, Any], asked: dict[str, Any], root_uri: str) -> None:
    first = load_run(small, asked, "r1", root_uri)
    before = {info.key: info.version for info in first.store.list()}
    again = load_run(small, asked, "r1", root_uri)
    assert again.uri == first.uri
    assert {info.key: info.version for info in again.store.list()} == before


def test_another_run_json_under_the_same_id_is_refused(
    small: dict[str, Any], asked: dict[str, Any], root_uri: str
) -> None:
    load_run(small, asked, "r1", root_uri)
    (message,) = refused(SettingsError, small, {**asked, "epochs": 7}, root_uri)
    assert "made from another run.json" in message


def test_a_run_json_may_be_named_by_its_uri(
    small: dict[str, Any], asked: dict[str, Any], root_uri: str, tmp_path: Path
) -> None:
    path = tmp_path / "a run.json"
    path.write_text(json.dumps(small))
    assert load_run(path.as_uri(), asked, "r1", root_uri).run_id == "r1"


@pytest.mark.parametrize("run", ["run.json", "/runs/run.json", "", 3, None, [], "{}", "https://example.org/run.json"])
def test_what_is_neither_an_object_nor_a_uri_is_refused(run: Any, asked: dict[str, Any], root_uri: str) -> None:
    (message,) = refused(SettingsError, run, asked, root_uri)
    assert message.startswith("run: is neither a run.json nor the URI of one")


def test_a_file_that_is_no_run_json_is_not_quoted(asked: dict[str, Any], root_uri: str, tmp_path: Path) -> None:
    for content in ("secret: hunter2\n", '"hunter2"', '["hunter2"]'):
        (tmp_path / "secret").write_text(content)
        messages = refused(SettingsError, (tmp_path / "secret").as_uri(), asked, root_uri)
        assert "hunter2" not in "".join(messages)


def test_a_uri_outside_the_allowed_sources_is_not_read(
    asked: dict[str, Any], root_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRTUNE_ALLOWED_SOURCES", (tmp_path / "allowed").as_uri())
    (message,) = refused(NotPermittedError, (tmp_path / "x.json").as_uri(), asked, root_uri)
    assert "does not read from there" in message


def test_schema_and_catalog_problems_come_together(small: dict[str, Any], asked: dict[str, Any], root_uri: str) -> None:
    model = small["spec"]["flow"]["blocks"][1]["settings"]
    model["hyperparameters"] = {"epochs": 0}
    model["architecture"] = {"name": "qwen3vlm", "size": "4B"}
    messages = refused(SettingsError, small, asked, root_uri)
    assert [message.split(":")[0].rsplit(".", 1)[-1] for message in messages] == ["epochs", "name"]


def test_lora_is_refused_for_an_architecture_that_forbids_it(
    small: dict[str, Any], dataset_uri: str, root_uri: str
) -> None:
    overrides = {"dataset": dataset_uri, "architecture": "nvila", "size": "2B", "mode": "LoRA"}
    (message,) = refused(SettingsError, small, overrides, root_uri)
    assert "NVILA-Lite cannot be trained in this mode" in message


def test_a_run_without_a_dataset_is_told_where_to_name_it(small: dict[str, Any], root_uri: str) -> None:
    (message,) = refused(SettingsError, small, None, root_uri)
    assert message.startswith("spec.flow.blocks[0].settings.airtune.source: is missing")
    assert "--set dataset=URI" in message


@pytest.mark.parametrize(
    "source", ["data", "./data", "/data", "../data", "C:\\data", "http://x/y", "file://data", "s3://"]
)
def test_a_dataset_that_is_no_uri_is_refused_on_the_server(small: dict[str, Any], source: str, root_uri: str) -> None:
    (message,) = refused(SettingsError, small, {"dataset": source}, root_uri)
    assert message.startswith("spec.flow.blocks[0].settings.airtune.source: ")
    assert "s3://" in message or "file:///" in message


def test_a_relative_base_model_is_refused_on_the_server(small: dict[str, Any], dataset_uri: str, root_uri: str) -> None:
    (message,) = refused(SettingsError, small, {"dataset": dataset_uri, "base-model": "../models/tiny"}, root_uri)
    assert "baseModel: is a plain path, not a URI (got '../models/tiny')" in message


def test_dataset_and_base_model_that_do_not_exist_are_named_together(
    small: dict[str, Any], dataset_uri: str, root_uri: str, tmp_path: Path
) -> None:
    missing = f"{dataset_uri}t"
    base = (tmp_path / "no-model").as_uri()
    first, second = refused(SettingsError, small, {"dataset": missing, "base-model": base}, root_uri)
    assert f"the dataset does not exist (got {missing}); did you mean {dataset_uri}?" in first
    assert f"there is no model here (no config.json) (got {base})" in second
    assert not (tmp_path / "store").exists()


def test_an_empty_folder_and_a_file_are_no_dataset(small: dict[str, Any], root_uri: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    assert (
        "is an empty folder" in refused(SettingsError, small, {"dataset": (tmp_path / "empty").as_uri()}, root_uri)[0]
    )
    assert "is a file" in refused(SettingsError, small, {"dataset": (tmp_path / "file").as_uri()}, root_uri)[0]


def test_sources_outside_the_allowed_places_are_refused_together(
    small: dict[str, Any], asked: dict[str, Any], root_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRTUNE_ALLOWED_SOURCES", "s3://allowed")
    messages = refused(NotPermittedError, small, {**asked, "feature-cache": "s3://elsewhere/features"}, root_uri)
    assert ["source" in messages[0], "baseModel" in messages[1], "featureCache" in messages[2]] == [True] * 3


def test_a_feature_cache_that_is_no_uri_is_refused_on_the_server(
    small: dict[str, Any], asked: dict[str, Any], root_uri: str
) -> None:
    (message,) = refused(SettingsError, small, {**asked, "feature-cache": "features"}, root_uri)
    assert "featureCache: is a plain path, not a URI (got 'features')" in message


def test_a_model_of_the_hub_is_not_looked_at_yet(small: dict[str, Any], dataset_uri: str, root_uri: str) -> None:
    overrides = {"dataset": dataset_uri, "base-model": "Qwen/Qwen3-VL-4B-Instruct"}
    assert load_run(small, overrides, "r1", root_uri).run_id == "r1"


def test_a_run_on_videos_is_taken_where_the_architecture_takes_them(
    small: dict[str, Any], asked: dict[str, Any], root_uri: str
) -> None:
    assert load_run(small, {**asked, "task": "video-freeform"}, "r1", root_uri).run_id == "r1"


def test_a_run_id_that_is_no_folder_name_is_refused(
    small: dict[str, Any], asked: dict[str, Any], root_uri: str
) -> None:
    assert "cannot be used as the name of a folder" in refused(SettingsError, small, asked, root_uri, "../x")[0]


def test_loading_a_run_imports_nothing_heavy_and_takes_a_moment(
    small: dict[str, Any], asked: dict[str, Any], root_uri: str, tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_text(json.dumps(small))
    code = (
        "import json, sys, time; from airtune.resolution.intake import load_run; begun = time.process_time(); "
        f"load_run(json.load(open({str(tmp_path / 'run.json')!r})), {asked!r}, 'r1', {root_uri!r}); "
        "heavy = ('torch', 'transformers', 'pandas', 'great_expectations', 'boto3', 'airflow'); "
        "print([name for name in heavy if name in sys.modules], time.process_time() - begun < 5)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[] True"


@pytest.mark.s3
def test_the_same_holds_for_s3(
    small: dict[str, Any], base_uri: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    request.getfixturevalue("s3_environment")
    root = "s3://airtune/intake"
    (message,) = refused(SettingsError, small, {"dataset": "s3://airtune/nothing", "base-model": base_uri}, root)
    assert "the dataset does not exist: nothing lies below this URI (got s3://airtune/nothing)" in message
    (message,) = refused(SettingsError, small, {"dataset": "s3://no-such-bucket/x", "base-model": base_uri}, root)
    assert "no-such-bucket" in message
    open_store("s3://airtune/data").write("a/b.json", b"{}")
    run = load_run(small, {"dataset": "s3://airtune/data", "base-model": base_uri}, "r1", root)
    assert run.exists(layout.RUN_JSON)
    (message,) = refused(
        SettingsError, small, {"dataset": "s3://airtune/data", "base-model": base_uri}, "s3://no-such-bucket"
    )
    assert "no-such-bucket" in message
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    (message,) = refused(NotPermittedError, small, {"dataset": "s3://airtune/data", "base-model": base_uri}, root, "r2")
    assert "wrong" not in message
