"""The run.json inside a bundle: what ran, in the words that Datature's SDK reads."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from airtune.catalog.registry import entry_of
from airtune.errors import SettingsError
from airtune.publishing.tokens import TokenIds
from airtune.runspec.document import RunDocument
from airtune.runspec.prompts import vi_system_prompt
from airtune.runspec.resolved import Resolution, ResolvedRun
from airtune.runspec.status import FINISHED, STARTED, Condition
from airtune.runspec.tasks import Task
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

_STAGES: Final = ("validate", "resolve", "train", "evaluate", "gate")


def published_run(run: RunDirectory, resolved: ResolvedRun, tokens: TokenIds) -> str:
    """The run.json of the bundle, as text; the same for the same run, however often it is made.

    Every value is concrete, the architecture is the catalog's key, the system prompt is the text that was trained
    with, the settings of ``evaluation`` stand in both spellings, and with them the tokenizer's own control tokens:
    the SDK's defaults are those of the large Qwen models, outside a small model's vocabulary.
    """
    document = RunDocument.parse(run.store.read(layout.RUN_JSON), where=f"{run.uri}/{layout.RUN_JSON}")
    document = document.with_values(_values(resolved, tokens))
    done = [Condition(STARTED, "Reached"), Condition(FINISHED, "Reached")]
    return document.with_status(at_ms=_finished_ms(run), conditions=done).to_json()


def prompt_warning(resolved: ResolvedRun) -> str | None:
    """Why the SDK will not serve this model with the prompt it was trained on; None when it will."""
    if resolved.task is Task.GENERIC or resolved.system_prompt_source == "vi":
        return None
    try:
        if resolved.system_prompt == vi_system_prompt(resolved.task):
            return None
    except SettingsError:  # vi-sdk is not installed, so there is nothing to compare with
        pass
    return (
        f"Datature's SDK serves {resolved.task.value} with a system prompt of its own and not with the one this model "
        'was trained on; train with systemPrompt "vi" if the model is to be served there'
    )


def model_warning(resolution: Resolution) -> str | None:
    """Why the SDK cannot load this model at all; None when it can.

    The SDK loads the model types of the catalog's entries. It knows neither one that was derived from a model's own
    files, nor what transformers loads natively in the place of a model that brings its code (DeepSeek-OCR).
    """
    entry = entry_of(resolution.run)
    model_type = (resolution.facts.get("base_model") or {}).get("model_type") or entry.model_type
    if model_type == entry.model_type and not entry.derived:
        return None
    known = "" if entry.derived else f"; what it serves as {entry.display_name} is {entry.model_type}"
    return (
        f"Datature's SDK cannot load a {model_type}{known}. Serve this model with transformers: the base in "
        f"{layout.MODEL_FULL}, with the adapter in {layout.MODEL_ADAPTER} where there is one"
    )


def _values(resolved: ResolvedRun, tokens: TokenIds) -> dict[str, Any]:
    sampling = resolved.sampling
    values: dict[str, Any] = {
        "name": resolved.name,
        "dataset.projectKind": resolved.task.value,
        "system-prompt.systemPrompt": resolved.system_prompt,
        "model.architecture.name": resolved.architecture,
        "model.architecture.size": resolved.size,
        "model.trainingMode.type": resolved.training_mode,
        "model.quantization.enabled": resolved.quantization_enabled,
        "model.quantization.type": resolved.quantization_type,
        "model.compute.precisionType": resolved.precision,
        "model.hyperparameters.epochs": resolved.epochs,
        "model.hyperparameters.learningRate": resolved.learning_rate,
        "model.hyperparameters.batchSize": resolved.batch_size,
        "model.hyperparameters.gradientAccumulation": resolved.gradient_accumulation,
        "model.hyperparameters.optimizer": resolved.optimizer,
        "model.evaluation.maxNewTokens": sampling.max_new_tokens,
        "model.evaluation.topK": sampling.top_k,
        "model.evaluation.topP": sampling.top_p,
        "model.evaluation.temperature": sampling.temperature,
        "model.evaluation.repetitionPenalty": sampling.repetition_penalty,
        "model.evaluation.seed": sampling.seed,
    }
    if not sampling.do_sample:  # True is what a temperature says already; the platform's files do not have the switch
        values["model.evaluation.doSample"] = False
    if sampling.stop_strings:
        values["model.evaluation.stopStrings"] = list(sampling.stop_strings)
    if tokens.eos:
        values["model.evaluation.eosTokenId"] = list(tokens.eos) if len(tokens.eos) > 1 else tokens.eos[0]
    # The SDK wants a number for each; where the tokenizer has none its end token cannot be out of range.
    fallback = tokens.eos[0] if tokens.eos else None
    for name, number in (("padTokenId", tokens.pad), ("bosTokenId", tokens.bos)):
        chosen = number if number is not None else fallback
        if chosen is not None:
            values[f"model.evaluation.{name}"] = chosen
    return values


def _finished_ms(run: RunDirectory) -> int:
    """When the last stage before publishing ended, in milliseconds since 1970."""
    times = [0]
    for stage in _STAGES:
        found = run.store.read_versioned(layout.stage_record(stage))
        record = run.read_json(layout.stage_record(stage)) if found else {}
        if record.get("finished"):
            times.append(int(datetime.fromisoformat(record["finished"]).timestamp() * 1000))
    if max(times) == 0:
        metadata = run.read_json(layout.RUN_JSON).get("metadata") or {}
        times.append(int(metadata.get("lastUpdated") or 0))
    return max(times)
