"""The JSON schema of a run.json, for editors, for Airflow's trigger form, and for REST to refuse what is wrong.

The schema says what one value may be. What only a comparison of several values can tell (4 bit with SFT, an
architecture that is not in the catalog) is checked by :mod:`airtune.runspec.reading` and :mod:`airtune.catalog`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from airtune.runspec.blocks import Evaluation, EvaluationSnakeCase
from airtune.runspec.faults import schema_of
from airtune.runspec.fields import AUTO
from airtune.runspec.overrides import all_overrides
from airtune.runspec.reading import BLOCKS
from airtune.runspec.structure import Run

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

URI_PATTERN: Final = "^(file:///|s3://).+"
"""What a run, a dataset or a model is addressed by."""


def run_schema() -> dict[str, Any]:
    """The schema of a run.json: draft 2020-12, with every definition inside it."""
    definitions: dict[str, Any] = {}
    root = _collected(schema_of(Run), definitions)
    kinds = []
    for word, model in BLOCKS.items():
        definitions[model.__name__] = _collected(schema_of(model), definitions)
        kinds.append(
            {
                "if": {"properties": {"block": {"type": "string", "pattern": word}}, "required": ["block"]},
                "then": {"properties": {"settings": {"$ref": f"#/$defs/{model.__name__}"}}},
            }
        )
    definitions["Block"]["allOf"] = kinds
    definitions["Flow"]["properties"]["blocks"]["allOf"] = [
        {"contains": {"properties": {"block": {"type": "string", "pattern": word}}, "required": ["block"]}}
        for word in ("dataset", "model")
    ]
    snake = _collected(schema_of(EvaluationSnakeCase), {})
    definitions[Evaluation.__name__]["properties"] |= snake["properties"]
    return {
        "$schema": DIALECT,
        "title": "run.json",
        **{key: value for key, value in root.items() if key != "title"},
        "$defs": dict(sorted(definitions.items())),
    }


def run_param_schema() -> dict[str, Any]:
    """The schema of the DAG's param ``run``: a run.json, or the URI of one."""
    return {**run_schema(), "type": ["object", "string"], "pattern": URI_PATTERN}


def override_schema(name: str) -> dict[str, Any]:
    """The schema of one flat override as an optional DAG param: null stands for "as the run.json has it".

    It names one type, so that Airflow's form shows a number field, a choice or a switch; ``"auto"`` can be given in
    the param ``overrides`` (see :func:`overrides_schema`).

    Args:
        name: a short name of :func:`airtune.runspec.overrides.all_overrides`.
    """
    override = all_overrides()[name]
    kind = next(kind for kind in _kinds(override.schema) if kind.get("const") != AUTO)
    made: dict[str, Any] = {**kind, "type": [kind.get("type", "string"), "null"]}
    if "enum" in kind:
        made["enum"] = [*(value for value in kind["enum"] if value != AUTO), None]
    return {**made, "description": override.description}


def overrides_schema() -> dict[str, Any]:
    """The schema of the DAG's param ``overrides``: an object of short names, or of settings' short paths."""
    properties = {
        override.name.replace("-", "_"): {
            "anyOf": [*_kinds(override.schema), {"type": "null"}],
            "description": override.description,
        }
        for override in all_overrides().values()
    }
    return {"type": ["object", "null"], "properties": properties}


def _kinds(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    kinds = schema.get("anyOf", [schema])
    ornaments = ("description", "title", "default", "x-usual")
    return [
        {key: value for key, value in kind.items() if key not in ornaments}
        for kind in kinds
        if kind.get("type") != "null"
    ]


def schema_text() -> str:
    """The file ``include/configs/run.schema.json``."""
    return json.dumps(run_schema(), indent=2, ensure_ascii=False) + "\n"


def _collected(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A copy without pydantic's ornaments, its definitions moved into one collection."""
    for name, definition in schema.get("$defs", {}).items():
        definitions.setdefault(name, _plain(definition))
    plain: dict[str, Any] = _plain({key: value for key, value in schema.items() if key != "$defs"})
    return plain


def _plain(schema: Any) -> Any:
    # A default of null would be refused by the schema itself, and titles made from names say nothing.
    if isinstance(schema, dict):
        return {
            key: ({name: _plain(each) for name, each in value.items()} if key == "properties" else _plain(value))
            for key, value in schema.items()
            if not (key == "default" and value is None) and not (key == "title" and isinstance(value, str))
        }
    return [_plain(each) for each in schema] if isinstance(schema, list) else schema
