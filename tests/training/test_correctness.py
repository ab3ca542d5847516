"""What other trainers get wrong, one test each, by its number in docs/proofs.md (which names the others' files)."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_runs import record, train_to_end, training_rows, watched

from airtune.catalog.registry import entry
from airtune.errors import DataError, DivergedError, ExitCode, SettingsError

pytestmark = pytest.mark.training

Assemble = Callable[..., Any]
MakeRun = Callable[..., Any]


def first_gradients(pieces: Any) -> dict[str, Any]:
    """Trains, and gives the gradients with which the first step was taken."""
    from transformers import TrainerCallback

    found: dict[str, Any] = {}

    class Keep(TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if not found:
                found.update({n: p.grad.clone() for n, p in pieces.model.named_parameters() if p.requires_grad})

    pieces.trainer.add_callback(Keep())
    pieces.fit()
    return found


def apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    """How far two sets of tensors are apart, as a share of the first one's length."""
    import torch

    difference = torch.cat([(one[name] - other[name]).flatten() for name in one]).norm()
    return float(difference / torch.cat([value.flatten() for value in one.values()]).norm())


@pytest.mark.parametrize("mode", ["LoRA", "SFT"])
def test_01_accumulation_is_token_weighted(assemble: Assemble, mode: str) -> None:
    """Batch 1 x accumulation 4 is batch 4 x 1, on answers of very uneven length."""
    settings: dict[str, Any] = {
        "training_mode": mode, "epochs": 1, "train": 4, "validation": 0, "max_grad_norm": 0.0,
    }  # fmt: skip
    at_once = assemble(batch_size=4, gradient_accumulation=1, **settings)
    in_turn = assemble(batch_size=1, gradient_accumulation=4, **settings)
    lengths = {int((sample.encoded.labels != -100).sum()) for sample in at_once.train}
    assert max(lengths) >= 2 * min(lengths)
    before = at_once.trained()
    assert apart(first_gradients(at_once), first_gradients(in_turn)) <= 1e-6
    # The update too. (AdamW's first step takes little but the sign of a gradient: where one is next to nothing, and in
    # full fine-tuning some always are, rounding decides.)
    updates = [
        {name: value - before[name] for name, value in pieces.trained().items()} for pieces in (at_once, in_turn)
    ]
    assert apart(*updates) <= (1e-6 if mode == "LoRA" else 1e-4)


def test_02_labels_are_the_answer_and_its_end_and_nothing_else(assemble: Assemble) -> None:
    pieces = assemble(train=4)
    tokenizer = pieces.encoder.processor.tokenizer
    for index, sample_record in enumerate(pieces.train.records):
        (row,) = pieces.trainer.data_collator([pieces.train[index]])["rows"]
        assert tokenizer.decode(row.targets) == sample_record.target + "<|im_end|>"
        # each is predicted from the token before it, and the last from the end of the answer
        assert row.inputs["input_ids"].flatten()[row.sources[1:]].tolist() == row.targets[:-1].tolist()
    image, padding = pieces.encoder.processor.image_token_id, tokenizer.pad_token_id
    (row,) = pieces.trainer.data_collator([pieces.train[index] for index in range(4)])["rows"]
    assert not {image, padding} & set(row.targets.tolist())
    pieces.encoder.never_labels = frozenset(range(len(tokenizer)))
    with pytest.raises(DataError, match="has nothing to learn"):
        pieces.encoder.encode("", "What?", [], "an answer whose every token is masked")


def test_03_lora_adapts_the_language_model_and_nothing_in_the_vision_tower(assemble: Assemble) -> None:
    """A bare ``q_proj`` would be met in many a tower, too; tests/catalog/test_module_maps.py has all architectures."""
    pieces = assemble()
    adapted = [name for name, module in pieces.model.named_modules() if hasattr(module, "lora_A")]
    assert len(adapted) == 14
    assert all(".language_model.layers." in name for name in adapted)
    parts = watched(pieces).report["parts"]
    assert {part: count["adapters"] for part, count in parts.items()} == {"language": 14, "projector": 0, "vision": 0}
    assert {part for part, count in parts.items() if count["trained"]} == {"language"}


def test_04_4_bit_leaves_the_vision_tower_the_projector_and_the_output_layer_alone(assemble: Assemble) -> None:
    import torch

    pieces = assemble(quantization_enabled=True, precision="BFloat16")
    linears = {
        name: type(module).__name__
        for name, module in pieces.model.get_base_model().named_modules()
        if isinstance(module, torch.nn.Linear) and "lora_" not in name
    }
    quantized = {name.removesuffix(".base_layer") for name, kind in linears.items() if kind == "Linear4bit"}
    assert len(quantized) == 14
    assert {entry("qwen3vl").part_of(name) for name in quantized} == {"language"}
    assert {entry("qwen3vl").part_of(name) for name, kind in linears.items() if kind == "Linear"} == {
        "vision", "projector", "head",
    }  # fmt: skip


def test_05_loading_in_4_bit_turns_nothing_that_is_not_quantised_into_float32(assemble: Assemble) -> None:
    """``prepare_model_for_kbit_training`` would, for 3.5 GB on a 7B."""
    import torch

    pieces = assemble(quantization_enabled=True, precision="BFloat16", train=4, epochs=1)
    pieces.fit()
    frozen = {str(p.dtype) for p in pieces.model.parameters() if not p.requires_grad}
    assert frozen == {"torch.bfloat16", "torch.uint8"}
    assert pieces.model.get_base_model().get_input_embeddings().weight.dtype == torch.bfloat16


@pytest.mark.parametrize("outside", [True, False])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_06_a_frozen_vision_tower_takes_no_part_in_the_backward_pass(
    assemble: Assemble, checkpointing: bool, outside: bool
) -> None:
    """Inside the model's forward, too, where hooks would draw it in; equal gradients: tests/modeling/test_parts.py."""
    pieces = assemble(gradient_checkpointing=checkpointing, train=4, validation=0, epochs=1)
    if not outside:
        pieces.trainer._seeing = None  # an architecture that takes no features: pictures go through the forward
        tower = pieces.model.get_base_model().model.visual
        tower.patch_embed.register_forward_hook(lambda module, given, made: made.requires_grad_(True))
    check = watched(pieces)
    pieces.fit()
    assert check.report["vision_modules"]["in_backward"] == 0
    assert check.report["vision_modules"]["ran"] == check.report["vision_modules"]["all"] > 20
    assert check.report["gradients"]["without_gradient"] == []


def test_07_samples_beyond_the_limit_are_set_aside_on_record_and_never_cut(make_run: MakeRun) -> None:
    directory = make_run(max_sequence_length=55, epochs=1)
    result = train_to_end(directory)
    lines = training_rows(directory, "set-aside.jsonl")
    assert result["samples"]["set_aside"] == len(lines) > 0
    assert result["samples"]["train"] + result["samples"]["validation"] + len(lines) == 16
    assert result["steps"] == -(-result["samples"]["train"] // 4)
    assert lines[0]["reason"] == "too-long"
    assert "tokens, and at most 55 are taken" in lines[0]["detail"]
    log = (directory.workspace / "training" / "log.txt").read_text()
    assert "samples are set aside" in log
    assert f"of {51} to {55} tokens each" in log
    # what is trained is whole: as many tokens as the samples within the limit have
    whole = make_run(epochs=1)
    everything = train_to_end(whole)["tokens"]
    cut = [int(line["detail"].split()[0]) for line in lines if line["split"] == "train"]
    assert result["tokens"] == everything - sum(cut)


def test_08_max_pixels_is_effective_in_training_and_saved_with_the_processor(make_run: MakeRun) -> None:
    from airtune.modeling.loading import load_processor
    from airtune.modeling.picture_tokens import image_tokens

    plain = make_run(epochs=1, train=4, validation=0)
    limited = make_run(epochs=1, train=4, validation=0, training_mode="SFT", max_pixels=32 * 32)
    tokens = [train_to_end(directory)["tokens"] for directory in (plain, limited)]
    found = [directory.read_json("training/selfcheck.json")["sample"] for directory in (plain, limited)]
    assert [sample["image_tokens"] for sample in found] == [16, 4]  # 64 x 64 pixels, 16 x 16 a token
    assert tokens[0] - tokens[1] == 4 * (16 - 4)
    saved = load_processor(limited.workspace / "model_full")
    assert image_tokens(saved, [(64, 64), (1000, 1000)]) == [4, 4]


def test_09_training_pads_on_the_right_generation_on_the_left_and_token_types_are_kept(assemble: Assemble) -> None:
    """Special tokens that are not added twice: tests/modeling/test_encoding.py."""
    import torch

    from airtune.datasets.pictures.images import Images
    from airtune.training.rows import padded_row
    from airtune.training.scores import Scores

    pieces = assemble(train=6, validation=6)
    image = pieces.encoder.processor.image_token_id
    row = padded_row(pieces.encoder, [pieces.train[index].encoded for index in range(6)]).inputs
    assert (row["attention_mask"].diff(dim=1) <= 0).all()  # ones, then zeros
    assert (row["attention_mask"] == 0).any()
    assert torch.equal(row["mm_token_type_ids"] == 1, row["input_ids"] == image)

    asked: list[dict[str, Any]] = []
    longer = dataclasses.replace(pieces.validation.records[0], prompt="What colour, please, does the square have?")
    images = Images((pieces.trainer.around.directory.workspace.parents[2] / "data").as_uri())
    scores = Scores(pieces.model, pieces.run, pieces.encoder, [2], images, [longer, *pieces.validation.records[1:]])
    hook = pieces.model.get_base_model().register_forward_pre_hook(
        lambda module, args, kwargs: asked.append(kwargs), with_kwargs=True
    )
    pieces.model.eval()
    scores(lambda: None)
    hook.remove()
    first = asked[0]
    assert first["input_ids"].shape[0] == 6
    assert (first["attention_mask"].diff(dim=1) >= 0).all()  # zeros, then ones
    assert (first["attention_mask"] == 0).any()
    assert torch.equal(first["mm_token_type_ids"] == 1, first["input_ids"] == image)


def test_10_lengths_come_from_the_headers_of_pictures_and_none_is_decoded(assemble: Assemble) -> None:
    from PIL import Image

    from airtune.datasets.pictures.images import Images
    from airtune.training.selection import select

    class NeverDecoded(Images):
        def picture(self, key: str, digest: str | None = None) -> Any:
            raise AssertionError(f"{key} is decoded")

    pieces = assemble(train=4)
    data = pieces.trainer.around.directory.workspace.parents[2] / "data"
    Image.new("RGB", (96, 48)).save(data / "images/wide.png")
    both = record(data, "images/wide.png", "train", "Compare.", "two")
    first = pieces.train.records[0]
    both = dataclasses.replace(
        both, images=(*first.images, *both.images), image_digests=(*first.image_digests, *both.image_digests),
        width=64, height=64,
    )  # fmt: skip
    records = [*pieces.train.records, both]
    chosen = select(
        records, pieces.run, pieces.encoder, NeverDecoded(data.as_uri()), context=None, say=lambda line: None
    )
    images = Images(data.as_uri())
    for each in records:
        encoded = pieces.encoder.encode(pieces.run.system_prompt, each.prompt, images.load_all(each), each.target)
        assert chosen.lengths[each.id] == encoded.length


def test_11_a_divided_model_is_never_asked_for_answers(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """With adapters each device has the whole model, and the first one answers; evaluation has one device."""
    from airtune.training.inputs import read_inputs

    monkeypatch.setenv("WORLD_SIZE", "2")
    settings: dict[str, Any] = {"early_stopping_patience": 2, "early_stopping_metric": "token_f1"}
    with pytest.raises(SettingsError, match=r"earlyStoppingMetric: answers cannot be generated while a model is div"):
        read_inputs(make_run(training_mode="SFT", **settings), lambda line: None)
    assert read_inputs(make_run(**settings), lambda line: None).run.early_stopping_metric == "token_f1"
    by_loss = make_run(training_mode="SFT", early_stopping_patience=2)
    assert read_inputs(by_loss, lambda line: None).run.early_stopping_metric == "loss"


def test_12_evaluation_keeps_no_logits_and_computes_them_for_label_tokens_only(assemble: Assemble) -> None:
    """And early stopping goes by generated answers: tests/training/test_scores.py."""
    from airtune.training.loss import output_layer

    pieces = assemble(train=4, validation=6, batch_size=2)
    pieces.fit()
    made: list[int] = []
    hook = output_layer(pieces.model).register_forward_hook(
        lambda layer, given, logits: made.append(logits.shape[:-1].numel())
    )
    metrics = pieces.trainer.evaluate()
    hook.remove()
    labels = [int((sample.encoded.labels != -100).sum()) for sample in pieces.validation]
    assert len(made) > 1
    assert sum(made) == sum(labels)
    assert set(metrics) == {"eval_loss"}
    assert type(metrics["eval_loss"]) is float
    assert pieces.trainer.args.prediction_loss_only


def test_13_a_loss_that_is_no_longer_a_number_stops_the_run_and_keeps_the_last_checkpoint(make_run: MakeRun) -> None:
    directory = make_run(learning_rate=1e30, epochs=5, checkpoint_every_steps=1, max_grad_norm=0.0)
    with pytest.raises(
        DivergedError, match=r"training step \d: the loss is no longer a number.*Samples of the step"
    ) as caught:
        train_to_end(directory)
    assert caught.value.exit_code == ExitCode.DIVERGED == 72
    assert "lower learningRate" in str(caught.value)
    assert any((directory.workspace / "checkpoints").glob("step-*/COMPLETE"))
    assert directory.read_json("status/train.json")["exit_code"] == 72
    assert not (directory.workspace / "model_adapter").exists()


def test_14_an_incomplete_or_corrupt_newest_checkpoint_is_passed_over(make_run: MakeRun) -> None:
    """How they are written, and killed in the middle: test_checkpoints.py and test_killed.py."""
    directory = make_run(epochs=2, train=8, checkpoint_every_steps=1, checkpoints_kept=9)
    train_to_end(directory)
    adapter = directory.workspace / "model_adapter" / "adapter_model.safetensors"
    as_before = adapter.read_bytes()
    shutil.rmtree(adapter.parent)
    (directory.workspace / "training" / "result.json").unlink()
    folder = directory.workspace / "checkpoints"
    (folder / "step-4" / "COMPLETE").unlink()
    damaged = folder / "step-3" / "trainable.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-8] + b"12345678")
    result = train_to_end(directory)
    assert result["resumed_from"] == 2
    log = (directory.workspace / "training" / "log.txt").read_text()
    assert "checkpoints/step-3 is not used: trainable.safetensors is not as it was written" in log
    assert adapter.read_bytes() == as_before


def test_18_float16_trains_float32_weights_and_scales_its_gradients_also_on_the_cpu(assemble: Assemble) -> None:
    import torch

    pieces = assemble(precision="Float16", train=4, epochs=2)
    scaler = pieces.trainer.accelerator.scaler
    assert scaler is not None
    assert scaler.is_enabled()
    before = pieces.trained()
    assert {value.dtype for value in before.values()} == {torch.float32}
    pieces.fit()
    assert scaler.get_scale() >= 1024
    assert scaler.state_dict()["_growth_tracker"] == 2  # two steps with the scaled loss, none skipped
    assert any((pieces.trained()[name] != before[name]).any() for name in before)
    # the norm on record is that of the unscaled gradient
    assert pieces.trainer.around.pace._metrics.rows[0]["grad_norm"] < 100
    for other in ("BFloat16", "Float32"):
        assert assemble(precision=other).trainer.accelerator.scaler is None


def test_20_a_seed_gives_the_same_bits_another_seed_others_and_the_result_says_so(
    assemble: Assemble, make_run: MakeRun
) -> None:
    import torch

    from airtune.training.optimization import seed

    settings: dict[str, Any] = {"train": 8, "epochs": 1, "validation": 0, "lora_dropout": 0.2}
    first, same, other = (assemble(seed=number, **settings) for number in (1, 1, 2))
    names = [name for name in first.trained() if "lora_A" in name]
    assert not any(torch.equal(first.trained()[name], other.trained()[name]) for name in names)  # made from the seed
    assert list(first.trainer.order) == list(same.trainer.order) != list(other.trainer.order)
    for pieces in (first, same, other):
        seed(pieces.run)  # three in one process: each begins as it would alone
        pieces.fit()
    one, again, another = first.trained(), same.trained(), other.trained()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not any(torch.equal(one[name], another[name]) for name in one)
    # The stage itself, on one sample, whose order no seed can change: what differs are the adapters' first weights.
    alone = {number: make_run(train=1, validation=0, epochs=1, seed=number) for number in (6, 5)}
    again_alone = make_run(train=1, validation=0, epochs=1, seed=5)
    for directory in (alone[6], again_alone):
        train_to_end(directory)
    directory = alone[5]
    result = train_to_end(directory)
    left = [(each.workspace / "model_adapter" / "adapter_model.safetensors").read_bytes()
            for each in (directory, again_alone, alone[6])]  # fmt: skip
    assert left[0] == left[1] != left[2]
    assert (result["seed"], result["deterministic"], result["threads"]) == (5, True, torch.get_num_threads())
    assert json.loads(Path(directory.workspace / "training" / "result.json").read_text())["seed"] == 5
