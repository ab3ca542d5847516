"""The exported JSON schema."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from airtune.configs import config_file
from airtune.runspec.overrides import all_overrides
from airtune.runspec.schema_export import override_schema, overrides_schema, run_param_schema, run_schema, schema_text


def references(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        own = {schema["$ref"]} if isinstance(schema.get("$ref"), str) else set()
        return own.union(*(references(value) for value in schema.values()))
    return set().union(*map(references, schema)) if isinstance(schema, list) else set()


def test_the_file_in_the_repository_is_current() -> None:
    stored = config_file("run.schema.json").read_text(encoding="utf-8")
    assert stored == schema_text(), "run: airtune schema --write include/configs/run.schema.json"


def test_the_schema_is_a_schema_and_needs_no_other_file() -> None:
    schema = run_schema()
    Draft202012Validator.check_schema(schema)
    assert {reference.split("/")[-1] for reference in references(schema)} <= set(schema["$defs"])
    assert all(reference.startswith("#/$defs/") for reference in references(schema))


def test_the_examples_are_accepted(example_text: str) -> None:
    Draft202012Validator(run_schema()).validate(json.loads(example_text))


@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_a_missing_block_is_refused_by_the_schema(small: dict[str, Any], kind: str) -> None:
    flow = small["spec"]["flow"]
    flow["blocks"] = [block for block in flow["blocks"] if block["block"] != kind]
    assert not Draft202012Validator(run_schema()).is_valid(small)


@pytest.mark.parametrize(
    ("value", "valid"),
    [("s3://bucket/run.json", True), ("file:///runs/run.json", True), ("run.json", False), ("", False), (3, False)],
)
def test_the_param_run_takes_a_uri_or_an_object(small: dict[str, Any], value: object, valid: bool) -> None:
    validator = Draft202012Validator(run_param_schema())
    assert validator.is_valid(small)
    assert not validator.is_valid({})
    assert validator.is_valid(value) == valid


@pytest.mark.parametrize("name", list(all_overrides()))
def test_every_flat_override_is_optional_and_has_one_type(name: str) -> None:
    schema = override_schema(name)
    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid(None)
    assert len(schema["type"]) == 2
    assert schema["description"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("epochs", 3, 0),
        ("learning-rate", 1e-4, "fast"),
        ("mode", "SFT", "sft"),
        ("quantization", "none", "NF5"),
        ("task", "vqa", "VQA"),
        ("do-sample", True, "true"),
    ],
)
def test_a_flat_override_refuses_what_its_setting_refuses(name: str, good: object, bad: object) -> None:
    validator = Draft202012Validator(override_schema(name))
    assert validator.is_valid(good)
    assert not validator.is_valid(bad)
    rest = Draft202012Validator(overrides_schema())
    assert rest.is_valid({name.replace("-", "_"): good})
    assert not rest.is_valid({name.replace("-", "_"): bad})


def test_the_object_of_overrides_takes_auto_and_null() -> None:
    validator = Draft202012Validator(overrides_schema())
    assert validator.is_valid({"epochs": "auto", "seed": None, "model.hyperparameters.batchSize": 4})
    assert validator.is_valid(None)
