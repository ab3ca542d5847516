"""What every run checks at its start, and that it stops where a promise is broken."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from training_runs import train_to_end, watched

pytestmark = pytest.mark.training

Assemble = Callable[..., Any]
MakeRun = Callable[..., Any]


@pytest.mark.parametrize("mode", ["LoRA", "SFT"])
def test_what_was_found_is_in_the_log_and_in_selfcheck_json(make_run: MakeRun, mode: str) -> None:
    directory = make_run(epochs=1, train=4, validation=0, training_mode=mode)
    train_to_end(directory)
    report = directory.read_json("training/selfcheck.json")
    lora = mode == "LoRA"
    assert {part: count["adapters"] for part, count in report["parts"].items()} == {
        "language": 14 if lora else 0, "projector": 0, "vision": 0,
    }  # fmt: skip
    assert {part for part, count in report["parts"].items() if count["trained"]} == (
        {"language"} if lora else {"language", "projector", "vision"}
    )
    sample = report["sample"]
    assert sample["image_tokens"] == sample["image_tokens_predicted"] == 16
    assert sample["tokens"] == sample["tokens_predicted"]
    assert sample["reads"].startswith(
        "<|im_start|>system\nAnswer with JSON.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
    )
    assert sample["reads"].endswith("<|vision_end|>What colour? (0)<|im_end|>\n<|im_start|>assistant\n")
    assert sample["labels"].endswith('"}}<|im_end|>')
    assert sample["stop_token_trained"]
    vision = report["vision_modules"]
    assert vision["in_backward"] == (0 if lora else vision["all"])
    gradients = report["gradients"]
    assert gradients["without_gradient"] == []
    assert (gradients["step"], gradients["tolerated_tensors"]) == (1, 0)
    assert gradients["trained_tensors"] == (28 if lora else gradients["trained_tensors"]) > 20
    assert gradients["zero_gradient_tensors"] == (14 if lora else 0)  # behind a B that is still zero, A gets none
    log = (directory.workspace / "training" / "log.txt").read_text()
    assert re.search(r"language +\d+,\d+ ", log)
    assert re.search(r"sample \w+: \d+ tokens, 16 of them of pictures; it teaches '\{\"vqa\"", log)
    all_of_them = gradients["trained_tensors"]
    assert f"the first gradients reach {all_of_them} of {all_of_them} trained tensors" in log


def test_a_part_that_is_cut_off_from_the_loss_stops_the_run_at_its_first_step(assemble: Assemble) -> None:
    from airtune.errors import DefectError

    pieces = assemble(training_mode="SFT", train=4, epochs=1)
    watched(pieces)
    pieces.model.model.visual.blocks[1].register_forward_hook(lambda module, given, made: made.detach())
    before = pieces.trained()
    with pytest.raises(DefectError, match=r"trained tensors get no gradient: model\.visual\.(patch_embed|blocks\.0)"):
        pieces.fit()
    assert all((value == before[name]).all() for name, value in pieces.trained().items())  # and no step was taken


def test_a_loss_that_depends_on_nothing_trained_stops_the_run(assemble: Assemble) -> None:
    from airtune.errors import DefectError

    pieces = assemble(train=4, epochs=1)
    watched(pieces)
    for name, parameter in pieces.model.named_parameters():
        if "lora_" in name:
            parameter.data.zero_()  # both factors at zero: neither gets anything
    with pytest.raises(DefectError, match="the loss does not depend on anything that is trained"):
        pieces.fit()


def test_a_tower_that_no_sample_needs_is_tolerated_by_name(assemble: Assemble) -> None:
    import dataclasses

    pieces = assemble(training_mode="SFT", train=4, validation=0, epochs=1)
    pieces.train.records = [
        dataclasses.replace(record, images=(), image_digests=()) for record in pieces.train.records
    ]  # fmt: skip
    check = watched(pieces)
    pieces.fit()
    gradients = check.report["gradients"]
    assert gradients["without_gradient"] == []
    assert all(name.startswith("model.visual.") for name in gradients["tolerated"])
    assert set(gradients["tolerated"].values()) == {"its module did not run in this step"}
    assert gradients["tolerated_tensors"] > 20


def test_layers_behind_the_one_whose_features_are_taken_are_known_from_the_config() -> None:
    from types import SimpleNamespace

    from airtune.training.first_step import unused_layers

    def config(taken: Any, layers: int = 24) -> Any:
        vision = SimpleNamespace(num_hidden_layers=layers)
        return SimpleNamespace(config=SimpleNamespace(vision_feature_layer=taken, vision_config=vision))

    last = unused_layers(config(-2))
    assert last.search("model.vision_tower.encoder.layers.23.mlp.fc1.weight")
    assert last.search("model.vision_tower.post_layernorm.weight")
    assert not last.search("model.vision_tower.encoder.layers.22.mlp.fc1.weight")
    assert not last.search("model.vision_tower.encoder.layers.2.mlp.fc1.weight")
    assert not unused_layers(config(-1)).search("model.vision_tower.encoder.layers.23.mlp.fc1.weight")
    several = unused_layers(config([3, -4]))
    assert several.search("tower.layers.21.x")
    assert not several.search("tower.layers.20.x")
    none: Any = SimpleNamespace(config=SimpleNamespace())
    assert not unused_layers(none).search("model.visual.blocks.3.attn.weight")


def test_a_picture_of_another_size_than_was_predicted_stops_the_run(make_run: MakeRun) -> None:
    from airtune.datasets.record import read_records, write_records
    from airtune.errors import DefectError

    directory = make_run(epochs=1, train=4, validation=0)
    path = directory.path("dataset/records.parquet")
    records = read_records(path)
    import dataclasses

    write_records(path, [dataclasses.replace(record, width=128) for record in records])
    with pytest.raises(DefectError, match=r"by its pictures' size has \d+; of its pictures 16 instead of 32"):
        train_to_end(directory)
    assert json.loads((directory.workspace / "training" / "selfcheck.json").read_text())["sample"]["image_tokens"] == 16
