"""A run.json: what is read, what is kept, what is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airtune.errors import SettingsError
from airtune.runspec.document import RunDocument
from airtune.runspec.tasks import Task

Change = Callable[[dict[str, Any]], Any]


def settings(run: dict[str, Any], index: int) -> dict[str, Any]:
    return dict.__getitem__(run["spec"]["flow"]["blocks"][index], "settings")


def refused(run: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        RunDocument.from_object(run)
    return [str(problem) for problem in caught.value.problems]


def test_a_run_json_survives_a_round_trip_with_unknown_keys_order_and_number_types(example_text: str) -> None:
    document = RunDocument.parse(example_text)
    assert document.to_json() == example_text


def test_the_raw_object_is_a_copy(platform: dict[str, Any]) -> None:
    document = RunDocument.from_object(platform)
    document.raw["spec"]["flow"]["name"] = "changed"
    platform["spec"]["flow"]["name"] = "changed too"
    assert document.spec.name == document.raw["spec"]["flow"]["name"] == "CraneInspection-7B-LoRA-NF4-v3"


def test_the_platforms_settings_are_read_by_their_python_names(platform: dict[str, Any]) -> None:
    spec = RunDocument.from_object(platform).spec
    assert spec.task is Task.PHRASE_GROUNDING
    assert spec.system_prompt == "Find the cranes. Ünïcode – 你好."
    assert (spec.dataset.dataset_id, spec.dataset.split_ratio, spec.dataset.shuffle) == ("d-1", 0.25, False)
    model = spec.model
    assert (model.architecture_name, model.architecture_size, model.training_mode) == ("Qwen2.5-VL", "7B", "LoRA")
    assert (model.quantization_enabled, model.quantization_type, model.precision) == (True, "FP4", "Float16")
    knobs = model.hyperparameters
    assert (knobs.epochs, knobs.learning_rate, knobs.batch_size, knobs.gradient_accumulation) == (12, 3e-5, 2, 4)
    assert knobs.optimizer == "Adam"
    draw = model.evaluation
    assert (draw.max_new_tokens, draw.top_k, draw.top_p, draw.temperature) == (300, 20, 1.0, 0.5)
    assert (draw.repetition_penalty, draw.do_sample, draw.seed, draw.stop_strings) == (1.1, False, 7, ("\n\n",))


def test_our_own_settings_are_read_from_the_object_airtune(ours: dict[str, Any]) -> None:
    spec = RunDocument.from_object(ours).spec
    assert spec.dataset.model_dump(exclude_none=True) == {
        "source": "s3://data/counting",
        "format": "vi",
        "minimum_images": 10,
        "maximum_set_aside": 0.1,
    }
    assert spec.model.base_model == "s3://models/qwen3vl-4b"
    assert spec.model.hyperparameters.model_dump(exclude_none=True) == {
        "learning_rate": 1.0,
        "learning_rate_schedule": "cosine",
        "warmup_ratio": 0.1,
        "weight_decay": 0.0,
        "max_grad_norm": 0.5,
        "seed": 3,
        "early_stopping_patience": 0,
        "max_pixels": 200000,
        "max_sequence_length": 4096,
        "checkpoint_every_steps": 20,
        "checkpoint_every_minutes": 5.0,
        "checkpoints_kept": 3,
        "gradient_checkpointing": True,
    }


def test_auto_is_the_same_as_leaving_a_setting_out(small: dict[str, Any]) -> None:
    left_out = RunDocument.from_object(small).spec
    model = settings(small, 1)
    model["hyperparameters"] = dict.fromkeys(("epochs", "learningRate", "batchSize", "optimizer"), "auto")
    model["trainingMode"] = {"type": "auto"}
    model["compute"] = {"precisionType": "auto"}
    model["evaluation"] = {"maxNewTokens": "auto", "top_k": "auto"}
    assert RunDocument.from_object(small).spec == left_out


def test_either_spelling_of_evaluation_is_read_and_both_may_stand_side_by_side(small: dict[str, Any]) -> None:
    evaluation = settings(small, 1)["evaluation"]
    evaluation |= {"maxNewTokens": 10, "top_k": 3, "topP": 1, "top_p": 1.0}
    found = RunDocument.from_object(small).spec.model.evaluation
    assert (found.max_new_tokens, found.top_k, found.top_p) == (10, 3, 1.0)


def test_two_spellings_that_disagree_are_refused(small: dict[str, Any]) -> None:
    settings(small, 1)["evaluation"] |= {"maxNewTokens": 10, "max_new_tokens": 11, "topK": "auto", "top_k": 5}
    first, second = refused(small)
    assert first == (
        "spec.flow.blocks[1].settings.evaluation.maxNewTokens: disagrees with max_new_tokens, the same setting in the "
        "other spelling (got 10 and 11); allowed: one value in both; remove one of the two, or make them equal"
    )
    assert "topK: disagrees with top_k" in second


def test_four_bit_with_sft_is_refused(platform: dict[str, Any]) -> None:
    settings(platform, 3)["trainingMode"]["type"] = "SFT"
    assert refused(platform) == [
        (
            "spec.flow.blocks[3].settings.quantization.enabled: 4 bit cannot be combined with SFT: weights in 4 "
            "bit cannot "
            'be trained (got true); allowed: false with SFT; set it to false, or train with "LoRA"'
        )
    ]


def test_the_sdks_prompt_is_refused_for_the_task_that_has_none(platform: dict[str, Any]) -> None:
    settings(platform, 1)["systemPrompt"] = "vi"
    settings(platform, 0)["projectKind"] = "generic"
    (message,) = refused(platform)
    assert message.startswith("spec.flow.blocks[1].settings.systemPrompt: asks for the prompts of Datature's SDK")


def test_every_problem_is_named_at_once_with_path_value_allowed_and_nearest_match(platform: dict[str, Any]) -> None:
    model = settings(platform, 3)
    model["trainingMode"]["type"] = "lora"
    model["hyperparameters"] |= {"epochs": 0, "learningRate": "fast"}
    model["evaluation"]["topP"] = 1.5
    model["airtune"] = {"loraRnak": 8}
    del settings(platform, 0)["projectKind"]
    settings(platform, 0)["projectkind"] = "vqa"
    root = "spec.flow.blocks"
    assert refused(platform) == [
        (
            f'{root}[0].settings.projectKind: is missing; allowed: "phrase-grounding", "vqa", "freeform", '
            '"video-freeform", '
            "\"generic\"; rename 'projectkind' to 'projectKind'"
        ),
        (
            f'{root}[3].settings.trainingMode.type: is not one of the allowed values (got "lora"); allowed: '
            '"LoRA", "SFT" '
            'or "auto"; did you mean "LoRA"?'
        ),
        f'{root}[3].settings.hyperparameters.epochs: is out of range (got 0); allowed: an integer >= 1 or "auto"',
        (
            f'{root}[3].settings.hyperparameters.learningRate: is not a number (got "fast"); allowed: a number > 0 or '
            '"auto" (usual: 1e-05 to 0.0001)'
        ),
        f'{root}[3].settings.evaluation.topP: is out of range (got 1.5); allowed: a number > 0 and <= 1 or "auto"',
        (
            f"{root}[3].settings.airtune.loraRnak: is no setting of airtune (got 8); allowed: baseModel, "
            "checkpointEveryMinutes, checkpointEverySteps, checkpointsKept, earlyStoppingMetric, "
            "earlyStoppingPatience, featureCache, gradientCheckpointing, ignoreEstimate, "
            "learningRateSchedule, loraAlpha, loraDropout, loraRank, maxGradNorm, maxPixels, maxSequenceLength, seed, "
            "warmupRatio, weightDecay; did you mean 'loraRank'?"
        ),
        (
            f"{root}[3].settings.evaluation.topP: disagrees with top_p, the same setting in the other spelling "
            "(got 1.5 "
            "and 1.0); allowed: one value in both; remove one of the two, or make them equal"
        ),
    ]


@pytest.mark.parametrize(
    ("kind", "expected"), [("dataset", "add a dataset block"), ("model", "add a model block")], ids=["dataset", "model"]
)
def test_a_missing_block_is_named(small: dict[str, Any], kind: str, expected: str) -> None:
    flow = small["spec"]["flow"]
    flow["blocks"] = [block for block in flow["blocks"] if block["block"] != kind]
    (message,) = refused(small)
    assert message.startswith(f"spec.flow.blocks: has no {kind} block")
    assert message.endswith(expected)


def test_a_block_whose_name_has_capitals_is_pointed_out(small: dict[str, Any]) -> None:
    small["spec"]["flow"]["blocks"][0]["block"] = "Dataset"
    assert refused(small)[0].endswith("rename 'Dataset' to 'dataset'")


def test_a_block_that_names_two_kinds_is_refused(small: dict[str, Any]) -> None:
    small["spec"]["flow"]["blocks"][0]["block"] = "dataset-model"
    assert any("names more than one kind of block: dataset and model" in message for message in refused(small))


def test_a_block_needs_its_name_settings_and_style(small: dict[str, Any]) -> None:
    small["spec"]["flow"]["blocks"].append({"block": "notes"})
    assert refused(small) == [
        "spec.flow.blocks[2].settings: is missing; allowed: an object; add it",
        "spec.flow.blocks[2].style: is missing; allowed: an object; add it",
    ]


def test_only_the_first_block_of_a_kind_counts_and_the_second_is_noted(small: dict[str, Any]) -> None:
    second = copy.deepcopy(small["spec"]["flow"]["blocks"][0])
    second["settings"]["projectKind"] = "vqa"
    small["spec"]["flow"]["blocks"].append(second)
    document = RunDocument.from_object(small)
    assert document.spec.task is Task.FREEFORM
    assert document.notes == (
        "spec.flow.blocks[2].block: a second dataset block is not read: only the first one counts",
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda run: run.pop("spec"), "spec: is missing"),
        (lambda run: run["spec"].pop("flow"), "spec.flow: is missing"),
        (lambda run: run["spec"].update(flow=[]), "spec.flow: is not an object"),
        (lambda run: run["spec"]["flow"].pop("name"), "spec.flow.name: is missing"),
        (lambda run: run["spec"]["flow"].update(name=3), "spec.flow.name: is not a text"),
        (lambda run: run["spec"]["flow"].update(blocks={}), "spec.flow.blocks: is not a list"),
        (lambda run: run["spec"]["flow"]["blocks"].insert(0, 3), "spec.flow.blocks[0]: is not an object"),
        (lambda run: run["spec"]["flow"].update(tolerations={"a": "b"}), "spec.flow.tolerations.a: is not a list"),
        (lambda run: run.update(kind="Flow"), "kind: is not one of the allowed values"),
        (lambda run: run.update(status={"conditions": [{}]}), "status.conditions[0].condition: is missing"),
    ],
)
def test_the_frame_of_a_run_json_is_checked(small: dict[str, Any], change: Change, expected: str) -> None:
    change(small)
    assert any(message.startswith(expected) for message in refused(small))


@pytest.mark.parametrize("value", [None, 3, "text", [], [{}], True])
def test_what_is_no_object_is_refused(value: object) -> None:
    assert refused(value)[0].startswith("run.json: is no run.json")


def test_a_key_that_looks_like_a_slip_is_noted_but_kept(small: dict[str, Any]) -> None:
    model = settings(small, 1)
    model["hyperparameters"] = {"epoch": 3, "loraRank": 4, "colour": "blue"}
    document = RunDocument.from_object(small)
    assert document.raw == small
    assert document.notes == (
        "spec.flow.blocks[1].settings.hyperparameters.epoch is not read: did you mean epochs?",
        (
            "spec.flow.blocks[1].settings.hyperparameters.loraRank is not read here: loraRank belongs into the object "
            '"airtune" of the block\'s settings'
        ),
    )


def test_lora_settings_are_noted_when_sft_does_not_use_them(ours: dict[str, Any]) -> None:
    settings(ours, 1)["airtune"] |= {"loraRank": 8, "featureCache": "s3://data/features"}
    assert RunDocument.from_object(ours).notes == (
        (
            "spec.flow.blocks[1].settings.airtune.featureCache is not used: SFT trains the vision tower, whose "
            "features change with every step"
        ),
        "spec.flow.blocks[1].settings.airtune.loraRank is not used: SFT trains every parameter and makes no adapter",
    )


def test_values_are_written_into_both_spellings_and_missing_blocks_added(small: dict[str, Any]) -> None:
    written = RunDocument.from_object(small).with_values(
        {
            "model.evaluation.maxNewTokens": 9,
            "system-prompt.systemPrompt": "Look.",
            "model.airtune.seed": 1,
            "name": "n",
        }
    )
    model = settings(written.raw, 1)
    assert model["evaluation"] == {"maxNewTokens": 9, "max_new_tokens": 9}
    assert model["airtune"] == {"seed": 1}
    assert written.raw["spec"]["flow"]["blocks"][2] == {
        "block": "system-prompt",
        "settings": {"systemPrompt": "Look."},
        "style": {},
    }
    assert written.spec.name == "n"
    assert small == json.loads((Path(__file__).parent / "examples" / "small.json").read_text())


def test_the_path_of_a_setting_follows_the_order_of_the_blocks(platform: dict[str, Any]) -> None:
    document = RunDocument.from_object(platform)
    assert document.path("model.evaluation.topK") == "spec.flow.blocks[3].settings.evaluation.topK"
    assert document.path("dataset.airtune.source") == "spec.flow.blocks[0].settings.airtune.source"
    assert document.path("name") == "spec.flow.name"
