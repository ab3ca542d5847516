"""Warnings: what a run may suffer from. Nothing is changed because of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from airtune.resolution.device import AMPERE
from airtune.resolution.parameters import is_expert
from airtune.resolution.shapes import vision_config
from airtune.resolution.too_long import in_words
from airtune.resolution.verdict import ALLOW, ROOM
from airtune.runspec import names
from airtune.runspec.prompts import VI
from airtune.runspec.resolved import ResolvedRun
from airtune.runspec.settings import all_settings
from airtune.runspec.spec import RunSpec

if TYPE_CHECKING:
    from airtune.resolution.resolver import Surroundings

_SEVEN_BILLION: Final = 6_500_000_000  # "7B" models count between 6.7 and 8.3 billion
_FEW_IMAGES: Final = 200
_MANY_EPOCHS: Final = 200
_OUT_OF_MEMORY: Final = (
    "lower batchSize and raise gradientAccumulation, then NF4, then LoRA instead of SFT, then a smaller model"
)


def advice(run: ResolvedRun, spec: RunSpec, around: Surroundings, estimate: Mapping[str, Any]) -> list[str]:
    """Everything worth a warning, each in one or two sentences.

    Args:
        run: what will run.
        spec: what was asked: only its own values can be unusual.
        around: data, base model, device.
        estimate: see :func:`airtune.resolution.estimate.estimate`, and ``too_long``, see
            :func:`airtune.resolution.too_long.too_long`.
    """
    return [
        *_unusual(spec),
        *_mode(run, around),
        *_formats(run, around),
        *_pictures(around),
        *_learning(run),
        *_answers(run, estimate),
        *_memory(estimate),
        *in_words(estimate["too_long"]),
        *_names_and_prompts(run, spec),
    ]


def _unusual(spec: RunSpec) -> Iterator[str]:
    knobs, draw = spec.model.hyperparameters, spec.model.evaluation
    asked = {
        "model.hyperparameters.learningRate": knobs.learning_rate,
        "model.hyperparameters.batchSize": knobs.batch_size,
        "model.hyperparameters.gradientAccumulation": knobs.gradient_accumulation,
        "model.evaluation.maxNewTokens": draw.max_new_tokens,
        "model.evaluation.topK": draw.top_k or None,  # 0 switches it off
        "model.evaluation.temperature": draw.temperature or None,  # 0 is greedy
        "model.evaluation.repetitionPenalty": draw.repetition_penalty,
    }
    for path, value in asked.items():
        low, high = all_settings()[path].schema["x-usual"]
        if value is not None and not low <= value <= high:
            yield f"{path.rsplit('.', 1)[-1]} {value:g} is outside the usual range of {low:g} to {high:g}."
    if draw.repetition_penalty is not None and draw.repetition_penalty >= 1.5:
        yield "A repetition penalty of 1.5 or more usually harms answers: 1.1 to 1.15 is a remedy for repetition."
    if draw.do_sample and draw.temperature == 0:
        yield "doSample is true but the temperature is 0: answers are greedy."


def _mode(run: ResolvedRun, around: Surroundings) -> Iterator[str]:
    if run.training_mode != "SFT" or "LoRA" not in around.architecture.entry.modes:
        return
    yield (
        "LoRA first: SFT is for domains far from natural photographs (microscopy, satellite, X-ray), or when LoRA no "
        "longer improves, with the GPU to match."
    )
    if around.data.train_images < _FEW_IMAGES:
        yield f"SFT with {around.data.train_images} training images tends to overfit: it wants at least {_FEW_IMAGES}."


def _formats(run: ResolvedRun, around: Surroundings) -> Iterator[str]:
    capability = around.device.compute_capability
    if run.quantization_enabled and run.quantization_type == "FP4":
        yield "NF4 loses less than FP4: use FP4 only where something else needs it."
    if run.quantization_enabled:
        yield from _experts(around)
    if run.precision == "Float32" and around.device.memory_gb is not None:
        yield "Float32 takes twice the memory and time of BFloat16: it is meant for finding faults."
    if run.precision == "Float16" and (run.parameters or 0) >= _SEVEN_BILLION:
        yield "Float16 with a model of 7B or more can overflow: prefer BFloat16."
    if run.precision == "Float16" and capability is not None and capability >= AMPERE:
        yield "This GPU calculates in BFloat16, which is more robust than Float16."
    if run.precision == "BFloat16" and capability is not None and capability < AMPERE:
        yield "This GPU is older than Ampere and only imitates BFloat16: Float16 is faster on it."


def _pictures(around: Surroundings) -> Iterator[str]:
    vision, side = vision_config(around.base.config), around.data.smallest_side
    unit = int(vision.get("patch_size") or 0) * int(vision.get("spatial_merge_size") or 1)
    if side is not None and side < unit:
        yield (
            f"The smallest picture has a side of {side:g} pixels, and one visual token covers {unit}: the processor "
            "scales it up, and the model sees little in it."
        )


def _experts(around: Surroundings) -> Iterator[str]:
    entry, base = around.architecture.entry, around.base
    experts = sum(tensor.parameters for tensor in base.tensors if is_expert(tensor, entry))
    if experts and base.parameters:
        yield (
            f"4 bit does not reach the routed experts of {entry.display_name}, which are "
            f"{experts / base.parameters:.0%} of its parameters: they stay in the run's precision."
        )


def _learning(run: ResolvedRun) -> Iterator[str]:
    effective = run.effective_batch
    if effective < 8 or effective > 32:
        yield f"The effective batch is {effective}: 8 to 16 suits most runs."
    if run.epochs > _MANY_EPOCHS:
        yield f"{run.epochs} epochs: beyond about {_MANY_EPOCHS} a model tends to overfit."
    if run.early_stopping_metric != "loss" and run.early_stopping_patience is None:
        yield f"earlyStoppingMetric {run.early_stopping_metric} has no effect: earlyStoppingPatience is 0."


def _answers(run: ResolvedRun, estimate: Mapping[str, Any]) -> Iterator[str]:
    lengths = estimate["lengths"]
    answers, limit = lengths["label_tokens"], run.sampling.max_new_tokens
    if answers is None or answers["most"] <= limit:
        return
    # Both count the token that ends an answer.
    how = "have" if lengths["exact"] else "have, as far as can be told,"
    longest = f"the longest of the data's answers {how} {answers['most']:,} tokens"
    if answers["p95"] > limit:
        longest = f"one in twenty of the data's answers {how} {answers['p95']:,} tokens or more, and {longest}"
    yield f"maxNewTokens {limit:,} cuts long answers off: {longest}."


def _memory(estimate: Mapping[str, Any]) -> Iterator[str]:
    verdict = estimate["verdict"]
    if verdict is None or verdict["verdict"] is None:
        return
    reason = f"{verdict['reason'][0].upper()}{verdict['reason'][1:]}"
    if verdict["verdict"] != ALLOW:
        remedy = f" Cheapest: {verdict['change_in_words']}." if verdict["change_in_words"] else ""
        yield f"{reason}.{remedy} In this order: {_OUT_OF_MEMORY}."
    elif verdict["needed_gb"] < ROOM * verdict["memory_gb"]:
        yield f"{reason}."


def _names_and_prompts(run: ResolvedRun, spec: RunSpec) -> Iterator[str]:
    if spec.name.strip() and not names.has_version(spec.name.strip()):
        four_bit = run.quantization_type if run.quantization_enabled else None
        better = names.suggested(run.task, run.size, run.training_mode, four_bit)
        yield f"Name runs [Task]-[Model size]-[Key settings]-v[N], for example {better}: runs are compared by name."
    if run.task.answers_in_json and run.system_prompt_source != VI:
        yield (
            f"Datature's SDK serves {run.task.value} with its own system prompt, which this model is not trained on. "
            'Set systemPrompt to "vi" for a model that is to be served there.'
        )
