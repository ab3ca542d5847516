"""Settings by their short names."""

from __future__ import annotations

from typing import Any

import pytest

from airtune.errors import SettingsError
from airtune.runspec.document import RunDocument
from airtune.runspec.overrides import all_overrides, parse_assignments, resolved
from airtune.runspec.settings import all_settings


def refused(run: dict[str, Any], given: dict[str, Any]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        RunDocument.from_object(run).with_overrides(given)
    return [str(problem) for problem in caught.value.problems]


def test_names_are_what_the_trigger_form_and_the_readme_use() -> None:
    wanted = {
        "name", "task", "dataset", "base-model", "system-prompt", "architecture", "size", "mode", "quantization",
        "precision", "epochs", "learning-rate", "batch-size", "gradient-accumulation", "optimizer", "max-new-tokens",
        "temperature", "top-k", "top-p", "repetition-penalty", "seed", "lora-rank", "lora-alpha", "lora-dropout",
    }  # fmt: skip
    assert wanted <= set(all_overrides())


def test_every_name_stands_for_one_setting_that_exists() -> None:
    paths = [path for override in all_overrides().values() for path in override.paths]
    assert len(paths) == len(set(paths))
    assert set(paths) <= set(all_settings())


def test_an_override_replaces_a_setting_and_leaves_all_others(platform: dict[str, Any]) -> None:
    before = RunDocument.from_object(platform)
    after = before.with_overrides({"epochs": 3, "dataset": "s3://b/d", "learning-rate": 0.5})
    model = after.raw["spec"]["flow"]["blocks"][3]["settings"]
    assert model["hyperparameters"]["epochs"] == 3
    assert model["hyperparameters"]["learningRate"] == 0.5
    assert after.spec.dataset.source == "s3://b/d"
    changed = after.raw
    changed["spec"]["flow"]["blocks"][0]["settings"].pop("airtune")
    changed["spec"]["flow"]["blocks"][3]["settings"]["hyperparameters"] |= {"epochs": 12, "learningRate": 3e-5}
    assert changed == platform


def test_an_override_reaches_both_spellings(platform: dict[str, Any]) -> None:
    after = RunDocument.from_object(platform).with_overrides({"max-new-tokens": 5, "temperature": 0.1})
    evaluation = after.raw["spec"]["flow"]["blocks"][3]["settings"]["evaluation"]
    assert (evaluation["maxNewTokens"], evaluation["max_new_tokens"]) == (5, 5)
    assert "temperature" in evaluation
    assert after.spec.model.evaluation.temperature == 0.1


@pytest.mark.parametrize(
    "name",
    ["batch-size", "batch_size", "batchSize", "BATCH_SIZE", "model.hyperparameters.batchSize",
     "model.hyperparameters.batch_size"],
)  # fmt: skip
def test_a_setting_is_found_however_it_is_spelt(platform: dict[str, Any], name: str) -> None:
    assert RunDocument.from_object(platform).with_overrides({name: 7}).spec.model.hyperparameters.batch_size == 7


def test_objects_stand_for_the_paths_below_them(platform: dict[str, Any]) -> None:
    given = {"model": {"airtune": {"seed": 4}, "hyperparameters": {"epochs": 2}}}
    knobs = RunDocument.from_object(platform).with_overrides(given).spec.model.hyperparameters
    assert (knobs.seed, knobs.epochs) == (4, 2)


def test_null_leaves_a_setting_as_it_is(platform: dict[str, Any]) -> None:
    document = RunDocument.from_object(platform)
    assert document.with_overrides({"epochs": None, "dataset": None}).raw == platform


@pytest.mark.parametrize(
    ("value", "enabled", "kind"),
    [("NF4", True, "NF4"), ("FP4", True, "FP4"), ("none", False, "FP4"), ("auto", None, None)],
)
def test_quantization_sets_the_switch_and_the_format(
    platform: dict[str, Any], value: str, enabled: bool | None, kind: str | None
) -> None:
    model = RunDocument.from_object(platform).with_overrides({"quantization": value}).spec.model
    assert (model.quantization_enabled, model.quantization_type) == (enabled, kind)


def test_an_unknown_name_is_refused_with_the_nearest(platform: dict[str, Any]) -> None:
    first, second = refused(platform, {"learning-rat": 1, "quantization": "NF5", "epochs": 3})
    assert first.startswith("override learning-rat: is no setting (got 1)")
    assert first.endswith("did you mean 'learning-rate'?")
    assert second == (
        'override quantization: is not one of the allowed values (got "NF5"); allowed: "NF4", "FP4", "none", "auto"; '
        "did you mean 'NF4'?"
    )


def test_a_bad_value_is_refused_with_its_path_and_the_name_it_came_by(platform: dict[str, Any]) -> None:
    messages = refused(platform, {"epochs": 0, "learningRate": "fast", "mode": "SFT"})
    root = "spec.flow.blocks[3].settings"
    assert messages == [
        (
            f"{root}.hyperparameters.epochs: is out of range (from the override epochs) (got 0); allowed: an "
            "integer >= 1 "
            'or "auto"'
        ),
        (
            f'{root}.hyperparameters.learningRate: is not a number (from the override learningRate) (got "fast"); '
            "allowed: "
            'a number > 0 or "auto" (usual: 1e-05 to 0.0001)'
        ),
        (
            f"{root}.quantization.enabled: 4 bit cannot be combined with SFT: weights in 4 bit cannot be trained (got "
            'true); allowed: false with SFT; set it to false, or train with "LoRA"'
        ),
    ]


def test_two_names_for_one_setting_are_refused(platform: dict[str, Any]) -> None:
    (message,) = refused(platform, {"batch-size": 1, "batch_size": 2})
    assert message == "override batch_size: sets the same as the override batch-size"


@pytest.mark.parametrize("given", ["epochs=3", ["epochs"], 3, {"epochs": object()}, {"epochs": {"deep": {}}}])
def test_what_is_no_object_of_overrides_is_refused_in_words(platform: dict[str, Any], given: Any) -> None:
    with pytest.raises(SettingsError):
        RunDocument.from_object(platform).with_overrides(given)


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("epochs=3", 3),
        ("epochs = 3", 3),
        ("epochs=auto", "auto"),
        ("epochs=2.5", 2.5),
        ("epochs=three", "three"),
        ("learning-rate=1e-4", 1e-4),
        ("learning_rate=1", 1),
        ("top-p=.9", 0.9),
        ("do-sample=true", True),
        ("do-sample=yes", "yes"),
        ("mode=SFT", "SFT"),
        ("name=3", "3"),
        ("name=true", "true"),
        ("system-prompt=a=b", "a=b"),
        ("dataset=s3://b/d", "s3://b/d"),
        ("quantization=none", "none"),
        ("temperature=nan", "nan"),
        ("temperature=NaN", "NaN"),
        ("seed=1_000", "1_000"),
    ],
)
def test_an_assignment_becomes_what_its_setting_wants(assignment: str, value: object) -> None:
    (found,) = parse_assignments([assignment]).values()
    assert found == value
    assert type(found) is type(value)


def test_assignments_that_are_none_are_refused_together() -> None:
    with pytest.raises(SettingsError) as caught:
        parse_assignments(["epochs", "=3", "epoch=3", "seed=1", "seed=2"])
    assert [problem.where for problem in caught.value.problems] == ["--set", "--set", "--set epoch", "--set seed"]
    assert caught.value.problems[2].fix == "did you mean 'epochs'?"


def test_values_are_given_back_by_short_path_with_their_names() -> None:
    values, names = resolved({"quantization": "none", "top_k": 3})
    assert values == {"model.quantization.enabled": False, "model.evaluation.topK": 3}
    assert names == {"model.quantization.enabled": "quantization", "model.evaluation.topK": "top_k"}
