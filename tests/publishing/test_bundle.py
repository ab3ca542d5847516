"""What lies in model_full and model_adapter: LoRA and SFT, one file and shards, bases on disk and on S3."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from airtune.configs import configs_root
from airtune.errors import DefectError, SettingsError
from airtune.publishing.bundle import assemble
from airtune.publishing.manifest import read_manifest
from airtune.publishing.stage import publish
from airtune.runspec.resolved import Resolution, ResolvedRun
from airtune.stores import RunDirectory, layout, open_store

Answer = Callable[[Path, Path], Mapping[str, str]]
MakeRun = Callable[..., RunDirectory]
TINY = configs_root() / "demo" / "tiny-vlm"


def _resolved(run: RunDirectory) -> ResolvedRun:
    return Resolution.from_json(run.store.read(layout.RESOLUTION)).run


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _served(base: Path) -> dict[str, bytes]:
    """A base's files without its model card, which is about the base and not about the bundle."""
    return {name: content for name, content in _files(base).items() if name != "README.md"}


@pytest.mark.parametrize("four_bit", [False, True])
def test_17_for_lora_model_full_is_the_base_byte_for_byte_and_nothing_is_merged_into_4_bit(
    file_root: str, make_run: MakeRun, four_bit: bool
) -> None:
    """Merging into a 4-bit base gives a worse model: the adapter is published beside the base's own weights."""
    run = make_run(file_root)
    resolved = _resolved(run).model_copy(update={"quantization_enabled": four_bit})
    assert assemble(run, resolved, TINY).folders == ("model_full", "model_adapter")
    full = _files(run.workspace / "model_full")
    full.pop("run.json")
    assert full == _served(TINY)


def test_a_second_assembly_writes_nothing(file_root: str, make_run: MakeRun) -> None:
    run = make_run(file_root)
    assemble(run, _resolved(run), TINY)
    before = {info.key: info.version for info in run.store.list()}
    assemble(run, _resolved(run), TINY)
    assert {info.key: info.version for info in run.store.list()} == before


def test_a_base_that_has_changed_between_two_tries_is_taken_anew(
    file_root: str, make_run: MakeRun, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(TINY, base)
    (base / "merges.txt").write_text("old")
    run = make_run(file_root, base=base.as_uri())
    assemble(run, _resolved(run), base)
    (base / "merges.txt").unlink()
    config = (base / "config.json").read_text()
    (base / "config.json").write_text(config.replace('"bfloat16"', '"float32_"'))  # of the same size
    assemble(run, _resolved(run), base)
    assert not (run.workspace / "model_full/merges.txt").exists()
    assert '"float32_"' in (run.workspace / "model_full/config.json").read_text()


def test_only_what_serving_needs_is_taken_from_the_base(file_root: str, make_run: MakeRun, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(TINY, base)
    wanted = [
        "LICENSE",
        "LICENSE.txt",
        "NOTICE",
        "merges.txt",
        "tokenizer.model",
        "additional_chat_templates/tool.jinja",
    ]
    unwanted = [
        "pytorch_model.bin", "README.md", "modeling_custom.py", "consolidated.safetensors", "figure.png", "run.json",
        "pytorch_model.bin.index.json", ".gitattributes", ".cache.json", "onnx/model.onnx",
    ]  # fmt: skip
    for name in [*wanted, *unwanted]:
        (base / name).parent.mkdir(exist_ok=True)
        (base / name).write_text("from the base")
    run = make_run(file_root)
    assemble(run, _resolved(run), base)
    names = set(_files(run.workspace / "model_full"))
    assert names == {*_served(TINY), *wanted, "run.json"}
    assert (run.workspace / "model_full/run.json").read_text() != "from the base"


def test_for_sft_model_full_has_the_trained_weights_and_everything_to_serve_them(
    any_root: str, make_run: MakeRun, echo: Answer
) -> None:
    run = make_run(any_root, training_mode="SFT")
    weights = bytearray((TINY / "model.safetensors").read_bytes())
    weights[-5:] = b"tuned"
    run.path("model_full/model.safetensors").write_bytes(weights)
    run.push("model_full")
    publish(run, answer=echo)
    manifest = read_manifest(run)
    assert manifest is not None
    listed = {record.path: record.sha256 for record in manifest.files if record.path.startswith("model_")}
    assert set(listed) == {f"model_full/{name}" for name in (*_served(TINY), "run.json")}
    assert listed["model_full/model.safetensors"] == hashlib.sha256(weights).hexdigest()
    base = hashlib.sha256((TINY / "model.safetensors").read_bytes()).hexdigest()
    assert (
        manifest.document["digests"]["base_model"] == hashlib.sha256(f"model.safetensors\t{base}".encode()).hexdigest()
    )


def test_the_digest_of_the_base_is_the_same_for_lora_and_sft(file_root: str, make_run: MakeRun, echo: Answer) -> None:
    digests = set()
    for mode in ("LoRA", "SFT"):
        run = make_run(file_root, mode, training_mode=mode)
        publish(run, answer=echo)
        manifest = read_manifest(run)
        assert manifest is not None
        digests.add(manifest.document["digests"]["base_model"])
    assert len(digests) == 1


def test_a_sharded_base_is_published_with_every_shard(
    any_root: str, make_run: MakeRun, echo: Answer, large_base: Path
) -> None:
    run = make_run(any_root, base=large_base.as_uri())
    publish(run, answer=echo)
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    for name in shards:
        assert run.store.read(f"model_full/{name}") == (large_base / name).read_bytes()
    assert run.store.stat("model_full/model.safetensors") is None


@pytest.mark.s3
def test_a_base_on_s3_is_published_and_a_missing_shard_is_named(
    s3_root: str, make_run: MakeRun, echo: Answer, large_base: Path
) -> None:
    base = f"{s3_root}/bases/large"
    store = open_store(base)
    store.upload_tree(large_base)
    store.write("pytorch_model.bin", b"never fetched")
    run = make_run(s3_root, base=base)
    publish(run, answer=echo)
    published = {info.key.removeprefix("model_full/") for info in run.store.list("model_full")}
    assert published == {*_served(large_base), "run.json"}
    store.delete("model-00002-of-00002.safetensors")
    other = make_run(s3_root, "run-2", base=base)
    with pytest.raises(SettingsError, match=r"model-00002-of-00002\.safetensors"):
        publish(other, answer=echo)
    assert list(other.store.list("model_full")) == []


def test_a_base_with_nothing_but_a_pickle_is_refused(
    file_root: str, make_run: MakeRun, echo: Answer, tmp_path: Path
) -> None:
    base = tmp_path / "pickled"
    shutil.copytree(TINY, base)
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    run = make_run(file_root, base=base.as_uri())
    with pytest.raises(SettingsError, match="pickled weights"):
        publish(run, answer=echo)
    assert read_manifest(run) is None


def test_a_pickle_that_training_has_left_is_refused(file_root: str, make_run: MakeRun, echo: Answer) -> None:
    run = make_run(file_root, training_mode="SFT")
    run.path("model_full/training_args.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(SettingsError, match=r"training_args\.bin"):
        publish(run, answer=echo)


def test_an_adapter_that_is_not_whole_is_a_defect(file_root: str, make_run: MakeRun, echo: Answer) -> None:
    run = make_run(file_root)
    path = run.workspace / "model_adapter/adapter_model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-10])
    with pytest.raises(DefectError, match="not a whole safetensors file"):
        publish(run, answer=echo)
    path.unlink()
    (path.parent / "adapter_config.json").unlink()
    with pytest.raises(DefectError) as caught:
        publish(run, answer=echo)
    assert len(caught.value.problems) == 2
    assert json.dumps(caught.value.to_json()).count("airtune train") == 2
