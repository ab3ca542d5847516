"""Every control of a run.json with values that it must refuse, by airtune's check and by the exported JSON schema."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from airtune.errors import SettingsError
from airtune.runspec.document import RunDocument
from airtune.runspec.schema_export import run_schema

COUNT = (0, -1, 2.5, "3", True, None, [], 10**12)
NUMBER = ("fast", "0.1", True, None, [], {})
SWITCH = ("true", 1, 0, None, "yes")

# Block, keys, values that are refused.
BAD: list[tuple[int, str, tuple[object, ...]]] = [
    (0, "projectKind", ("VQA", "detection", "", None, 3, "auto")),
    (0, "splitRatio", (0, 1, 1.5, -0.1, *NUMBER)),
    (0, "shuffle", SWITCH),
    (0, "datasetId", (3, [])),
    (0, "airtune", (None, [], "x")),
    (0, "airtune.source", ("", "  ", 3, [])),
    (0, "airtune.format", ("coco-json", "Vi", "", None)),
    (0, "airtune.minimumImages", COUNT),
    (0, "airtune.maximumSetAside", (-0.1, 1, 1.5, *NUMBER)),
    (0, "airtune.expectations", ("", "  ", 3, [])),
    (0, "airtune.dataDocs", SWITCH),
    (0, "airtune.unknown", (1,)),
    (2, "systemPrompt", (None, 3, ["x"])),
    (2, "airtune.unknown", (1,)),
    (1, "architecture", (None, "qwen3vl", [])),
    (1, "architecture.name", ("", 3, None)),
    (1, "architecture.size", ("", 7, None, [])),
    (1, "trainingMode", ("LoRA", None)),
    (1, "trainingMode.type", ("lora", "QLoRA", "full", True, None, "")),
    (1, "quantization.enabled", SWITCH),
    (1, "quantization.type", ("nf4", "INT8", "", None, 4)),
    (1, "compute.precisionType", ("bf16", "bfloat16", "Float64", None, 16)),
    (1, "hyperparameters", ([], "auto", None)),
    (1, "hyperparameters.epochs", COUNT),
    (1, "hyperparameters.learningRate", (0, -1e-4, 0.0, *NUMBER)),
    (1, "hyperparameters.batchSize", COUNT),
    (1, "hyperparameters.gradientAccumulation", COUNT),
    (1, "hyperparameters.optimizer", ("adamw", "SGD", "", None)),
    (1, "evaluation.maxNewTokens", COUNT),
    (1, "evaluation.max_new_tokens", COUNT),
    (1, "evaluation.topK", (-1, 2.5, "50", True, None)),
    (1, "evaluation.top_k", (-1, 2.5, "50", True, None)),
    (1, "evaluation.topP", (0, 1.01, -0.5, *NUMBER)),
    (1, "evaluation.top_p", (0, 1.01, -0.5, *NUMBER)),
    (1, "evaluation.temperature", (-0.1, *NUMBER)),
    (1, "evaluation.repetitionPenalty", (0, -1, *NUMBER)),
    (1, "evaluation.repetition_penalty", (0, -1, *NUMBER)),
    (1, "evaluation.do_sample", SWITCH),
    (1, "evaluation.seed", (-2, 1.5, "0", None)),
    (1, "evaluation.stop_strings", ("x", [1])),
    (1, "evaluation.eos_token_id", ("x", [1.5], True)),
    (1, "airtune.baseModel", ("", 3)),
    (1, "airtune.featureCache", ("", "  ", 3, [])),
    (1, "airtune.learningRateSchedule", ("Cosine", "step", None)),
    (1, "airtune.warmupRatio", (-0.1, 1, 2, *NUMBER)),
    (1, "airtune.weightDecay", (-0.1, *NUMBER)),
    (1, "airtune.maxGradNorm", (-1, *NUMBER)),
    (1, "airtune.seed", (-1, 2**32, 1.5, "0", None)),
    (1, "airtune.earlyStoppingPatience", (-1, 1.5, "3", None, False)),
    (1, "airtune.earlyStoppingMetric", ("accuracy", "Loss", 1, None, True)),
    (1, "airtune.loraRank", COUNT),
    (1, "airtune.loraAlpha", COUNT),
    (1, "airtune.loraDropout", (-0.1, 1, *NUMBER)),
    (1, "airtune.maxPixels", COUNT),
    (1, "airtune.maxSequenceLength", COUNT),
    (1, "airtune.checkpointEverySteps", (-1, 1.5, "3", None)),
    (1, "airtune.checkpointEveryMinutes", (-1, *NUMBER)),
    (1, "airtune.checkpointsKept", COUNT),
    (1, "airtune.gradientCheckpointing", SWITCH),
    (1, "airtune.ignoreEstimate", SWITCH),
    (1, "airtune.lora_rank", (8,)),
]
CASES = [pytest.param(block, key, value, id=f"{key}={value!r}"[:60]) for block, key, values in BAD for value in values]
SCHEMA = Draft202012Validator(run_schema())


def changed(run: dict[str, Any], block: int, key: str, value: object) -> dict[str, Any]:
    made = copy.deepcopy(run)
    blocks = made["spec"]["flow"]["blocks"]
    blocks.append({"block": "system-prompt", "settings": {"systemPrompt": "Look."}, "style": {}})
    at = blocks[block]["settings"]
    *above, last = key.split(".")
    for part in above:
        at = at.setdefault(part, {})
    at[last] = value
    return made


@pytest.mark.parametrize(("block", "key", "value"), CASES)
def test_a_bad_value_is_refused_by_name_and_by_the_schema(
    small: dict[str, Any], block: int, key: str, value: object
) -> None:
    bad = changed(small, block, key, value)
    with pytest.raises(SettingsError) as caught:
        RunDocument.from_object(bad)
    path = f"spec.flow.blocks[{block}].settings.{key}"
    assert [problem.where.split("[0]")[0] for problem in caught.value.problems if problem.where.startswith(path)]
    assert not SCHEMA.is_valid(bad)


def test_a_number_with_a_point_is_no_integer(small: dict[str, Any]) -> None:
    # A JSON schema cannot tell 512.0 from 512; the SDK that reads the published file refuses it.
    bad = changed(small, 1, "evaluation.maxNewTokens", 512.0)
    with pytest.raises(SettingsError, match=r"maxNewTokens: is not a whole number \(got 512.0\)"):
        RunDocument.from_object(bad)
    assert SCHEMA.is_valid(bad)


GOOD: list[tuple[int, str, tuple[object, ...]]] = [
    (0, "splitRatio", (0.1, 0.5, "auto")),
    (1, "hyperparameters.epochs", (1, 1000, "auto")),
    (1, "hyperparameters.learningRate", (1, 1e-9, 0.5, "auto")),
    (1, "evaluation.topK", (0, 1, 100)),
    (1, "evaluation.topP", (1, 1.0, 0.01)),
    (1, "evaluation.temperature", (0, 0.0, 2.5)),
    (1, "evaluation.seed", (-1, 0, 5)),
    (1, "evaluation.stop_strings", ([], ["a"], None)),
    (1, "evaluation.eos_token_id", (1, [1, 2], None)),
    (1, "airtune.earlyStoppingPatience", (0, 10, "auto")),
    (1, "airtune.earlyStoppingMetric", ("loss", "exact_match", "f1_50", "auto")),
    (1, "airtune.checkpointEveryMinutes", (0, 0.5, 10)),
]


@pytest.mark.parametrize(
    ("block", "key", "value"),
    [pytest.param(block, key, value, id=f"{key}={value!r}") for block, key, values in GOOD for value in values],
)
def test_a_good_value_is_accepted_by_both(small: dict[str, Any], block: int, key: str, value: object) -> None:
    good = changed(small, block, key, value)
    assert RunDocument.from_object(good).raw == good
    SCHEMA.validate(good)
