"""From raw JSON to the typed view: everything that is wrong at once, and what is odd but allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import BaseModel

from airtune.errors import Problem
from airtune.runspec.blocks import DatasetSettings, Evaluation, EvaluationSnakeCase, ModelSettings, SystemPromptSettings
from airtune.runspec.faults import nearest, validated
from airtune.runspec.fields import AUTO
from airtune.runspec.json_text import join, json_text
from airtune.runspec.oddities import block_notes
from airtune.runspec.prompts import VI
from airtune.runspec.spec import DatasetSpec, HyperparametersSpec, ModelSpec, RunSpec, SamplingSpec
from airtune.runspec.structure import Run
from airtune.runspec.tasks import Task

BlockName = Literal["dataset", "system-prompt", "model"]

BLOCKS: Final[dict[BlockName, type[BaseModel]]] = {
    "dataset": DatasetSettings,
    "system-prompt": SystemPromptSettings,
    "model": ModelSettings,
}
"""The blocks that airtune reads, by the word that a block's name contains."""

_REQUIRED: Final[tuple[BlockName, ...]] = ("dataset", "model")
_PLATFORM_KNOBS: Final = ("epochs", "learning_rate", "batch_size", "gradient_accumulation", "optimizer")
_SAMPLING: Final = tuple(SamplingSpec.model_fields)


@dataclass
class Reading:
    """What was found in a run.json.

    Attributes:
        spec: the typed view; None when there are problems.
        problems: everything that is wrong.
        notes: what is odd but allowed, each in a sentence.
        blocks: the place of each block in ``spec.flow.blocks``.
    """

    spec: RunSpec | None = None
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    blocks: dict[BlockName, int] = field(default_factory=dict)


def read_run(raw: object, *, where: str) -> Reading:
    """Reads a run.json that was parsed already; nothing is raised.

    Args:
        raw: the JSON value.
        where: how to name the whole document in problems.
    """
    reading = Reading()
    if not isinstance(raw, dict):
        reading.problems.append(
            Problem(
                where,
                "is no run.json: it is not a JSON object",
                value=json_text(raw),
                allowed="an object with the key spec",
            )
        )
        return reading
    validated(Run, raw, "", reading.problems, where=where)
    flow = _inside(_inside(raw, "spec"), "flow")
    settings = _find_blocks(flow.get("blocks"), reading)
    views = {
        name: validated(BLOCKS[name], settings[name], settings_path(index), reading.problems)
        for name, index in reading.blocks.items()
        if name in settings
    }
    for name, found in settings.items():
        reading.notes += block_notes(BLOCKS[name], found, settings_path(reading.blocks[name]))
    model, sampling = views.get("model"), None
    if "model" in settings:
        path = settings_path(reading.blocks["model"])
        sampling = _read_sampling(settings["model"], path, reading.problems)
        reading.problems += _four_bit_problems(settings["model"], path)
        reading.notes += _unused_notes(settings["model"], path)
    reading.problems += _prompt_problems(settings, reading.blocks)
    reading.problems = list(dict.fromkeys(reading.problems))
    if not reading.problems and model is not None and sampling is not None:
        prompt = views.get("system-prompt")
        reading.spec = _assembled(str(flow["name"]), views["dataset"], prompt, model, sampling)
    return reading


def settings_path(index: int) -> str:
    """The JSON path of a block's settings."""
    return f"spec.flow.blocks[{index}].settings"


def _inside(value: object, key: str) -> dict[str, Any]:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, dict) else {}


def _find_blocks(blocks: object, reading: Reading) -> dict[BlockName, dict[str, Any]]:
    """The settings of the first block of each kind, as Datature's SDK finds them: by a word in the block's name."""
    settings: dict[BlockName, dict[str, Any]] = {}
    if not isinstance(blocks, list):
        return settings  # the structure's own check has said so
    names: list[str] = []
    for index, block in enumerate(blocks):
        name = block.get("block") if isinstance(block, dict) else None
        if not isinstance(name, str):
            continue
        names.append(name)
        kinds: list[BlockName] = [word for word in BLOCKS if word in name]
        path = f"spec.flow.blocks[{index}].block"
        if len(kinds) > 1:
            reading.problems.append(
                Problem(
                    path,
                    f"names more than one kind of block: {' and '.join(kinds)}",
                    value=json_text(name),
                    allowed="a name with only one of the words dataset, system-prompt and model",
                )
            )
            continue
        for kind in kinds:
            if kind in reading.blocks:
                reading.notes.append(f"{path}: a second {kind} block is not read: only the first one counts")
                continue
            reading.blocks[kind] = index
            if isinstance(block.get("settings"), dict):
                settings[kind] = block["settings"]
    for kind in _REQUIRED:
        if kind not in reading.blocks:
            close = nearest(kind, names)
            reading.problems.append(
                Problem(
                    "spec.flow.blocks",
                    f"has no {kind} block",
                    value=json_text(names),
                    allowed=f'a block whose "block" contains {kind!r}',
                    fix=f"rename {close!r} to {kind!r}" if close else f"add a {kind} block",
                )
            )
    return settings


def _read_sampling(model: dict[str, Any], path: str, problems: list[Problem]) -> SamplingSpec | None:
    """One view of ``evaluation`` from its two spellings; they may stand side by side, but must agree."""
    raw = model.get("evaluation", {})
    if not isinstance(raw, dict):
        return None  # the block's own check has said so
    path = join(path, "evaluation")
    camel = validated(Evaluation, raw, path, problems)
    snake = validated(EvaluationSnakeCase, raw, path, problems)
    values: dict[str, Any] = {}
    for name in _SAMPLING:
        alias = Evaluation.model_fields[name].alias or name
        if alias != name and alias in raw and name in raw and raw[alias] != raw[name]:
            problems.append(
                Problem(
                    join(path, alias),
                    f"disagrees with {name}, the same setting in the other spelling",
                    value=f"{json_text(raw[alias])} and {json_text(raw[name])}",
                    allowed="one value in both",
                    fix="remove one of the two, or make them equal",
                )
            )
        one = getattr(camel, name, None)
        value = one if one is not None else getattr(snake, name, None)
        values[name] = tuple(value) if isinstance(value, list) else value
    return SamplingSpec(**values)


def _four_bit_problems(model: dict[str, Any], path: str) -> list[Problem]:
    if _inside(model, "trainingMode").get("type") != "SFT" or _inside(model, "quantization").get("enabled") is not True:
        return []
    return [
        Problem(
            f"{path}.quantization.enabled",
            "4 bit cannot be combined with SFT: weights in 4 bit cannot be trained",
            value="true",
            allowed="false with SFT",
            fix='set it to false, or train with "LoRA"',
        )
    ]


def _prompt_problems(settings: Mapping[BlockName, dict[str, Any]], blocks: Mapping[BlockName, int]) -> list[Problem]:
    asked = settings.get("system-prompt", {}).get("systemPrompt")
    if asked != VI or settings.get("dataset", {}).get("projectKind") != Task.GENERIC:
        return []
    return [
        Problem(
            join(settings_path(blocks["system-prompt"]), "systemPrompt"),
            "asks for the prompts of Datature's SDK, which has none for the task generic",
            value=json_text(asked),
            fix="write the prompt out, or leave the block away",
        )
    ]


def _unused_notes(model: dict[str, Any], path: str) -> list[str]:
    if _inside(model, "trainingMode").get("type") != "SFT":
        return []
    own = _inside(model, "airtune")
    notes = [
        f"{path}.airtune.featureCache is not used: SFT trains the vision tower, whose features change with every step"
    ]
    return (notes if own.get("featureCache") is not None else []) + [
        f"{path}.airtune.{key} is not used: SFT trains every parameter and makes no adapter"
        for key in ("loraRank", "loraAlpha", "loraDropout")
        if own.get(key, AUTO) != AUTO
    ]


def _assembled(
    name: str,
    dataset: DatasetSettings,
    prompt: SystemPromptSettings | None,
    model: ModelSettings,
    sampling: SamplingSpec,
) -> RunSpec:
    own = model.airtune.model_dump()
    base_model, feature_cache = own.pop("base_model"), own.pop("feature_cache")
    ignore_estimate = own.pop("ignore_estimate")
    knobs = {knob: getattr(model.hyperparameters, knob) for knob in _PLATFORM_KNOBS}
    return RunSpec(
        name=name,
        task=Task(dataset.project_kind),
        system_prompt=prompt.system_prompt if prompt is not None and prompt.system_prompt != AUTO else None,
        dataset=DatasetSpec(
            **dataset.airtune.model_dump(),
            dataset_id=dataset.dataset_id,
            split_ratio=dataset.split_ratio,
            shuffle=dataset.shuffle,
        ),
        model=ModelSpec(
            architecture_name=model.architecture.name,
            architecture_size=model.architecture.size,
            base_model=base_model,
            feature_cache=feature_cache,
            ignore_estimate=ignore_estimate,
            training_mode=model.training_mode.type,
            quantization_enabled=model.quantization.enabled,
            quantization_type=model.quantization.type,
            precision=model.compute.precision_type,
            hyperparameters=HyperparametersSpec(**knobs, **own),
            evaluation=sampling,
        ),
    )
