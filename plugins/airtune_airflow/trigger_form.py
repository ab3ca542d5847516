"""What a run of the DAG can be given: Airflow's Params, made from run.json's own schema.

They are the trigger form, and what the REST API holds a request against before it makes a DAG run.
"""

from __future__ import annotations

from typing import Any, Final

from airflow.sdk import Param

from airtune.configs import configs_root
from airtune.runspec.schema_export import override_schema, overrides_schema, run_param_schema

RUN: Final = "run"
OVERRIDES: Final = "overrides"

SECTIONS: Final[dict[str, tuple[str, ...]]] = {
    "Data and model": ("dataset", "base-model", "architecture", "size"),
    "Training": (
        "mode",
        "quantization",
        "precision",
        "epochs",
        "learning-rate",
        "batch-size",
        "gradient-accumulation",
        "optimizer",
    ),
    "Evaluation": ("max-new-tokens", "temperature", "top-p", "top-k", "repetition-penalty"),
}
"""The overrides that have a field of their own, by the section of the form; short names of runspec.overrides."""

_RUN_TEXT: Final = (
    'The run.json itself as a JSON object, or its address as a JSON string: `"s3://bucket/run.json"` or '
    '`"file:///data/run.json"`.'
)
_OVERRIDES_TEXT: Final = (
    'Anything else of run.json by its short name, as one JSON object: `{"lora_rank": 32, "seed": 7}`. '
    'Any setting may be `"auto"` here.'
)
_EMPTY: Final = "Empty: as run.json has it."


def param_name(override: str) -> str:
    """The param of an override: ``learning-rate`` becomes ``learning_rate``."""
    return override.replace("-", "_")


def names() -> list[str]:
    """The names of all params, in the order of the form."""
    return [RUN, *(param_name(name) for section in SECTIONS.values() for name in section), OVERRIDES]


def params() -> dict[str, Param]:
    """The params of ``vlm_finetune``: ``run``, one for each field of :data:`SECTIONS`, and ``overrides``."""
    made = {RUN: _param(run_param_schema(), "What to run", _RUN_TEXT)}
    for section, names in SECTIONS.items():
        for name in names:
            schema = override_schema(name)
            if name == "architecture":
                schema["examples"] = sorted(path.stem for path in (configs_root() / "catalog").glob("*.yaml"))
            text = _sentence(schema.pop("description", ""))
            made[param_name(name)] = _param(schema, section, f"{text} {_EMPTY}", default=None)
    made[OVERRIDES] = _param(overrides_schema(), "Everything else", _OVERRIDES_TEXT, default=None)
    return made


def _param(schema: dict[str, Any], section: str, text: str, **default: Any) -> Param:
    # A description inside the schema would meet Airflow's own argument of that name; the form shows `description_md`.
    kept = {key: value for key, value in schema.items() if key not in ("description", "default")}
    return Param(**default, description=text, source="dag", schema={**kept, "section": section, "description_md": text})


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""
