"""The stage publish: what is in the store when it is done, and that a second run changes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from airtune.errors import DefectError, SettingsError
from airtune.publishing.manifest import read_manifest
from airtune.publishing.stage import publish
from airtune.stores import MissingError, RunDirectory, Store, layout

Answer = Callable[[Path, Path], Mapping[str, str]]
MakeRun = Callable[..., RunDirectory]


def _state(store: Store) -> dict[str, object]:
    """Every object below a root with its version and, on S3, the time of its last change."""
    state: dict[str, object] = {info.key: info.version for info in store.list()}
    if store.uri.startswith("s3://"):
        from airtune.stores.s3_client import s3_client

        bucket, _, prefix = store.uri.removeprefix("s3://").partition("/")
        pages = s3_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
        state |= {entry["Key"]: (entry["ETag"], entry["LastModified"]) for page in pages for entry in page["Contents"]}
    return state


def test_a_published_run_is_whole_and_its_manifest_tells_the_truth(
    any_root: str, make_run: MakeRun, echo: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRTUNE_IMAGE", "registry/trainer@sha256:abc")
    run = make_run(any_root)
    result = publish(run, answer=echo)
    manifest = read_manifest(run)
    assert manifest is not None
    listed = {record.path: (record.size, record.sha256) for record in manifest.files}
    stored = {info.key: run.store.read(info.key) for info in run.store.list() if not layout.is_live(info.key)}
    assert listed == {key: (len(data), hashlib.sha256(data).hexdigest()) for key, data in stored.items()}
    assert {path for path in listed if path.startswith("model_adapter/")} == {
        "model_adapter/adapter_config.json",
        "model_adapter/adapter_model.safetensors",
    }
    companions = ("chat_template.jinja", "config.json", "generation_config.json", "processor_config.json")
    tokenizer = ("tokenizer.json", "tokenizer_config.json")
    assert {path.removeprefix("model_full/") for path in listed if path.startswith("model_full/")} == {
        *companions, *tokenizer, "model.safetensors", "run.json"
    }  # fmt: skip
    assert {"dataset/records.parquet", "evaluation/gate.json", "resolution.json"} <= set(listed)
    assert not [path for path in listed if path.startswith(("checkpoints/", "status/", "publishing/"))]
    document = manifest.document
    assert document["run_id"] == "run-1"
    assert document["seeds"] == {"training": 11, "sampling": 3}
    assert document["digests"]["data"] == "f" * 64
    assert document["digests"]["evaluation_set"] == "e" * 64
    assert document["digests"]["image"] == "registry/trainer@sha256:abc"
    template = stored["model_full/chat_template.jinja"]
    assert document["digests"]["chat_template"] == hashlib.sha256(template).hexdigest()
    assert document["digests"]["base_model"]
    assert {"python", "airtune", "safetensors"} <= set(document["versions"])
    assert (result.files, result.bytes) == (len(listed), sum(size for size, _ in listed.values()))
    assert (result.agreement, result.samples, result.promoted) == (1.0, 4, True)


def test_current_points_at_the_run_and_its_manifest(any_root: str, make_run: MakeRun, echo: Answer) -> None:
    run = make_run(any_root)
    result = publish(run, answer=echo)
    models = run.model_store("Shapes-tiny-LoRA-v1")
    current = json.loads(models.read("current.json"))
    assert result.current == f"{models.uri}/current.json"
    assert (current["run_id"], current["run_uri"]) == ("run-1", run.uri)
    assert (current["metric"], current["value"]) == ("exact_match", 0.9)
    assert current["manifest_sha256"] == hashlib.sha256(run.store.read("manifest.json")).hexdigest()
    assert [json.loads(line) for line in models.read("history.jsonl").splitlines()] == [current]


def test_a_second_publish_changes_nothing(
    any_root: str, make_run: MakeRun, echo: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(any_root)
    first = publish(run, answer=echo)
    before = _state(run.root)
    assert publish(run, answer=echo) == first
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "another machine"))
    assert publish(RunDirectory.open(run.uri), answer=echo) == first
    assert _state(run.root) == before


def test_a_run_that_was_replaced_does_not_come_back_by_publishing_it_again(
    file_root: str, make_run: MakeRun, echo: Answer
) -> None:
    old, new = make_run(file_root, "old"), make_run(file_root, "new", champion_run="old")
    publish(old, answer=echo)
    publish(new, answer=echo)
    old.store.delete(layout.PUBLISH_RESULT)  # as if it had been killed just before its end
    assert publish(old, answer=echo).reason == "this run was the champion until new took its place"
    assert json.loads(old.model_store("Shapes-tiny-LoRA-v1").read("current.json"))["run_id"] == "new"


def test_a_run_that_the_gate_holds_is_published_and_not_promoted(
    file_root: str, make_run: MakeRun, echo: Answer
) -> None:
    run = make_run(file_root, decision="hold")
    result = publish(run, answer=echo)
    assert (result.promoted, result.reason) == (False, "as the test says")
    assert read_manifest(run) is not None
    assert list(run.model_store("Shapes-tiny-LoRA-v1").list()) == []


def test_a_bundle_that_answers_otherwise_is_not_promoted(file_root: str, make_run: MakeRun, echo: Answer) -> None:
    run = make_run(file_root)

    def differently(bundle: Path, workspace: Path) -> Mapping[str, str]:
        return {**echo(bundle, workspace), "sample-2": "something else"}

    with pytest.raises(DefectError, match="sample-2") as caught:
        publish(run, answer=differently)
    assert "something else" in str(caught.value)
    assert list(run.root.list("models")) == []
    assert run.read_json(layout.RELOAD)["agreement"] == 0.75
    assert publish(run, answer=echo).promoted  # a second try asks the published bundle again


def test_an_answer_that_is_missing_is_a_disagreement(file_root: str, make_run: MakeRun, echo: Answer) -> None:
    run = make_run(file_root)
    with pytest.raises(DefectError, match="sample-0"):
        publish(run, answer=lambda bundle, workspace: {})
    assert run.read_json(layout.RELOAD)["agreement"] == 0


def test_the_fresh_process_sees_the_downloaded_bundle_and_nothing_else(
    any_root: str, make_run: MakeRun, echo: Answer
) -> None:
    run = make_run(any_root)
    seen: list[Path] = []

    def look(bundle: Path, workspace: Path) -> Mapping[str, str]:
        assert not bundle.is_relative_to(run.workspace)
        assert sorted(path.name for path in bundle.iterdir()) == ["model_adapter", "model_full"]
        for path in bundle.rglob("*"):
            if path.is_file():
                assert not path.samefile(run.workspace / path.relative_to(bundle))
        seen.append(bundle)
        return echo(bundle, workspace)

    publish(run, answer=look)
    assert not seen[0].exists()


@pytest.mark.parametrize("name", [layout.TRAINING_RESULT, layout.GATE, layout.PREDICTIONS, layout.RESOLUTION])
def test_a_stage_that_has_not_run_is_named(file_root: str, make_run: MakeRun, echo: Answer, name: str) -> None:
    run = make_run(file_root)
    run.store.delete(name)
    with pytest.raises(MissingError, match=name) as caught:
        publish(run, answer=echo)
    assert "airtune" in str(caught.value)


def test_everything_that_is_missing_is_named_at_once(file_root: str, make_run: MakeRun, echo: Answer) -> None:
    run = make_run(file_root)
    for name in (layout.GATE, layout.RECORDS):
        run.store.delete(name)
    with pytest.raises(MissingError) as caught:
        publish(run, answer=echo)
    assert len(caught.value.problems) == 2


def test_a_published_file_that_was_changed_is_named(any_root: str, make_run: MakeRun, echo: Answer) -> None:
    run = make_run(any_root)
    publish(run, answer=echo)
    run.store.write("model_full/config.json", b"{}")
    run.store.delete("model_adapter/adapter_config.json")
    with pytest.raises(DefectError) as caught:
        publish(run, answer=echo)
    assert "model_full/config.json" in str(caught.value)
    assert "model_adapter/adapter_config.json" in str(caught.value)


def test_a_published_file_that_was_changed_without_its_size_is_found_before_promotion(
    file_root: str, make_run: MakeRun, echo: Answer
) -> None:
    run = make_run(file_root)

    def break_off(bundle: Path, workspace: Path) -> Mapping[str, str]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(run, answer=break_off)
    path = "model_adapter/adapter_model.safetensors"
    data = bytearray(run.store.read(path))
    data[-1] ^= 1
    run.store.write(path, bytes(data))
    with pytest.raises(DefectError, match="adapter_model"):
        publish(run, answer=echo)
    assert list(run.root.list("models")) == []


def test_what_an_earlier_try_left_in_the_store_does_not_stay_in_the_bundle(
    any_root: str, make_run: MakeRun, echo: Answer
) -> None:
    run = make_run(any_root)
    run.store.write("model_full/model-00001-of-00009.safetensors", b"of another base")
    publish(run, answer=echo)
    assert run.store.stat("model_full/model-00001-of-00009.safetensors") is None


def test_a_schema_task_with_another_prompt_than_the_sdks_is_warned_about(
    file_root: str, make_run: MakeRun, echo: Answer
) -> None:
    from airtune.runspec.prompts import vi_system_prompt
    from airtune.runspec.tasks import Task

    lines: list[str] = []
    result = publish(make_run(file_root, "own"), answer=echo, say=lines.append)
    assert "Datature's SDK serves vqa with a system prompt of its own" in result.warnings[0]
    assert any(result.warnings[0] in line for line in lines)
    prompt: dict[str, Any] = {"system_prompt": vi_system_prompt(Task.VQA), "system_prompt_source": "vi"}
    assert publish(make_run(file_root, "vi", **prompt), answer=echo).warnings == ()
    assert publish(make_run(file_root, "generic", task="generic"), answer=echo).warnings == ()


def test_a_store_that_ignores_conditions_is_refused_before_anything_is_sent(
    file_root: str, make_run: MakeRun, echo: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airtune.errors import NotPermittedError
    from airtune.stores.file_store import FileStore

    def careless(self: FileStore, key: str, data: bytes) -> bool:
        self.write(key, data)
        return True

    run = make_run(file_root)
    monkeypatch.setattr(FileStore, "create", careless)
    with pytest.raises(NotPermittedError, match="conditional writes"):
        publish(run, answer=echo)
    assert list(run.store.list("model_full")) == []


def test_a_name_that_is_no_folder_name_gets_one_of_its_own(file_root: str, make_run: MakeRun, echo: Answer) -> None:
    run = make_run(file_root, name="../../Schäden / Halle 3")
    result = publish(run, answer=echo)
    assert result.current.startswith(f"{file_root}/models/Sch-den-Halle-3-")
    assert (run.root.read(result.current.removeprefix(file_root + "/"))).startswith(b"{")


def test_a_base_that_is_gone_is_told_in_words(file_root: str, make_run: MakeRun, echo: Answer) -> None:
    with pytest.raises(SettingsError, match="baseModel"):
        publish(make_run(file_root, base="file:///no/such/base"), answer=echo)
