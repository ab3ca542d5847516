"""What is told of a base model without loading it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from airtune.configs import configs_root
from airtune.errors import SettingsError, StoreError
from airtune.resolution.base_model import read_base_model, read_model_type
from airtune.resolution.weights import read_tensors
from airtune.stores.opening import open_store


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the tiny base model, to be broken."""
    return Path(shutil.copytree(configs_root() / "demo" / "tiny-vlm", tmp_path / "model"))


def refused(model: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        read_base_model(model.as_uri(), where="baseModel")
    return str(caught.value)


def test_parameters_are_counted_from_the_headers_as_torch_counts_them(base_uri: str, model: Path) -> None:
    from safetensors import safe_open

    found = read_base_model(base_uri, where="baseModel")
    with safe_open(model / "model.safetensors", "pt") as weights:
        expected = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    assert {tensor.name: list(tensor.shape) for tensor in found.tensors} == expected
    assert found.parameters == sum(found.parts.values())
    assert {"language", "vision", "projector", "embeddings"} <= set(found.parts)


def test_type_and_limits_are_read(base_uri: str, model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    found = read_base_model(base_uri, where="baseModel")
    assert found.model_type == read_model_type(base_uri, where="baseModel") == "qwen3_vl"
    assert found.longest == config["text_config"]["max_position_embeddings"]
    assert found.pixel_limit == 16384
    assert found.pixels_per_token == 256


def test_sharded_weights_are_counted_together(model: Path, base_uri: str) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, part in shards.items():
        save_file({name: weights[name] for name in part}, model / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in shards.items() for name in part}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_base_model(model.as_uri(), where="x").parts == read_base_model(base_uri, where="x").parts
    (model / "model-2.safetensors").unlink()
    assert "1 of the base model's 2 weight files are missing: model-2.safetensors" in refused(model)


Break = Callable[[Path], object]
QUANTISED = '{"model_type": "qwen3_vl", "quantization_config": {"quant_method": "bitsandbytes"}}'


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda model: (model / "config.json").unlink(), "there is no model here (no config.json)"),
        (lambda model: (model / "config.json").write_text("{"), "is not a JSON object"),
        (lambda model: (model / "config.json").write_text("[" * 10_000), "is not a JSON object"),
        (lambda model: (model / "config.json").write_text("{}"), "names no model_type"),
        (lambda model: (model / "config.json").write_text(QUANTISED), "quantised"),
        (lambda model: (model / "model.safetensors").unlink(), "no weights in the safetensors format"),
        (lambda model: (model / "model.safetensors").rename(model / "pytorch_model.bin"), "it has pytorch_model.bin"),
        (lambda model: (model / "model.safetensors").write_bytes(b"\xff" * 64), "damaged: it has no readable header"),
        (lambda model: (model / "model.safetensors").write_bytes(b""), "damaged: it has no readable header"),
        (lambda model: (model / "model.safetensors.index.json").write_text("[]"), "the base model is damaged"),
        (lambda model: (model / "processor_config.json").unlink(), "has no processor"),
        (lambda model: [path.unlink() for path in model.glob("tokenizer*")], "has no tokenizer"),
    ],
)  # fmt: skip
def test_a_broken_model_is_refused_in_words(model: Path, damage: Break, message: str) -> None:
    damage(model)
    assert message in refused(model)


def test_there_is_no_model_where_there_is_no_folder(tmp_path: Path) -> None:
    assert "there is no model here" in refused(tmp_path / "nothing")


def test_a_hub_that_does_not_answer_is_a_network_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(StoreError, match="does not answer"):
        read_base_model("Qwen/Qwen3-VL-2B-Instruct", where="baseModel")


@pytest.mark.s3
def test_a_model_on_s3_is_described_like_one_on_disk(
    model: Path, base_uri: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("s3_environment")
    open_store("s3://airtune/models/tiny").upload_tree(model)
    here = read_base_model(base_uri, where="x")
    there = read_base_model("s3://airtune/models/tiny", where="x")
    assert there.to_json() | {"uri": ""} == here.to_json() | {"uri": ""}
    assert len(read_tensors(open_store("s3://airtune/models/tiny"), where="x")) == len(here.tensors)
