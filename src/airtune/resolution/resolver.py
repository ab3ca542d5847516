"""From what was asked to what will run: every setting concrete, with its source and reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from airtune.answering.scoring import METRICS
from airtune.catalog.entry import CatalogEntry, band
from airtune.datasets.record import SPLITS, Record, Split
from airtune.errors import Problem, SettingsError
from airtune.resolution import tables
from airtune.resolution.advice import advice
from airtune.resolution.architecture import Architecture
from airtune.resolution.base_model import BaseModel
from airtune.resolution.data_facts import DataFacts
from airtune.resolution.device import Device
from airtune.resolution.estimate import estimate
from airtune.resolution.film_tokens import FilmRule
from airtune.resolution.ledger import ASKED, Ledger
from airtune.resolution.lengths import Lengths, guessed, lengths_of
from airtune.resolution.parameters import is_expert
from airtune.resolution.picture_sizes import Sizes
from airtune.resolution.picture_tokens import PictureRule
from airtune.resolution.text_tokens import text_rule
from airtune.resolution.too_long import too_long
from airtune.runspec import names
from airtune.runspec.document import RunDocument
from airtune.runspec.prompts import Prompts, prompts_for
from airtune.runspec.resolved import Precision, QuantizationType, Resolution, ResolvedRun, Sampling, StoppingMetric
from airtune.runspec.spec import RunSpec

_KNOBS: Final = "model.hyperparameters."
_OWN: Final = "model.airtune."
_DRAW: Final = "model.evaluation."
_LOSS: Final[StoppingMetric] = "loss"
_NF4: Final[QuantizationType] = "NF4"
_BFLOAT16: Final[Precision] = "BFloat16"


@dataclass(frozen=True)
class Surroundings:
    """What the decisions rest on besides the run.json.

    Attributes:
        data: the validated dataset.
        base: the base model.
        device: the GPU, if any.
        architecture: which catalog entry trains the base model, and why.
        records: the samples; None where only the dataset's facts are at hand.
        sizes: of their pictures, by digest.
        devices: how many devices will train it. The effective batch is decided here, for so many of them, and is the
            run's from then on: trained on another number, it is dealt out differently and stays the same.
    """

    data: DataFacts
    base: BaseModel
    device: Device
    architecture: Architecture
    records: tuple[Record, ...] | None = None
    sizes: Sizes = field(default_factory=dict)
    devices: int = 1

    @property
    def has_experts(self) -> bool:
        """Whether the base model has routed experts that LoRA adapts; as the architecture has where it is not known."""
        entry, tensors = self.architecture.entry, self.base.tensors
        return any(is_expert(tensor, entry) for tensor in tensors) if tensors else bool(entry.lora_experts)


def resolve_settings(document: RunDocument, around: Surroundings) -> Resolution:
    """Decides every setting that the run.json leaves open; what it sets is never changed.

    Raises:
        SettingsError: the base model's architecture does not allow what was asked, or the prompts of vi-sdk were asked
            for and it is not installed.
    """
    spec, entry, ledger = document.spec, around.architecture.entry, Ledger()
    size, parameters = _size(spec, around)
    mode = ledger.default("model.trainingMode.type", spec.model.training_mode, entry.modes[0], _mode_reason(entry))
    four_bit = ledger.default(
        "model.quantization.enabled", spec.model.quantization_enabled, mode == "LoRA",
        "4 bit takes a quarter of the memory" if mode == "LoRA" else "weights in 4 bit cannot be trained",
    )  # fmt: skip
    _check_mode(document, entry, mode, four_bit)
    _check_dropout(document, around, mode)
    _check_pixels(document, around.base)
    _check_metric(document)
    kind = ledger.default("model.quantization.type", spec.model.quantization_type, _NF4, "NF4 loses less than FP4")
    precision = ledger.default(
        "model.compute.precisionType", spec.model.precision, _BFLOAT16, "it has the range of Float32"
    )
    name = _name(spec, ledger, size, mode, kind if four_bit else None)
    prompts = _prompts(spec, ledger)
    run = ResolvedRun(
        name=name,
        task=spec.task,
        system_prompt=prompts.system,
        system_prompt_source=prompts.source,
        user_prompt=prompts.user,
        base_model=around.base.uri,
        architecture=entry.key,
        size=size,
        parameters=parameters,
        training_mode=mode,
        quantization_enabled=four_bit,
        quantization_type=kind,
        precision=precision,
        sampling=_sampling(spec, ledger, around.data),
        feature_cache=spec.model.feature_cache,
        dataset_source=around.data.root_uri,
        dataset_format=around.data.format,
        derived_entry=entry.to_json() if entry.derived else None,
        shuffle=ledger.default("dataset.shuffle", spec.dataset.shuffle, True, "the order is drawn anew each epoch"),
        **_learning(spec, ledger, around, band(parameters or 1), mode),
        **_limits(spec, ledger, around, parameters),
    )
    _record_sources(spec, ledger, around, run)
    lengths = _lengths(run, around)
    expected = estimate(run, entry, around.base, lengths["train"], around.device)
    expected["too_long"] = too_long(
        around.records or (), lengths, run, context=around.base.longest, images=around.data.images_per_sample
    )
    return Resolution(
        run=run,
        entries=tuple(sorted(ledger.entries, key=lambda each: each.path)),
        warnings=(*document.notes, *around.architecture.warnings, *advice(run, spec, around, expected)),
        estimate=expected,
        facts={
            "data": around.data.to_json(),
            "base_model": around.base.to_json(),
            "device": around.device.to_json(),
            "devices": around.devices,
            "band": band(parameters) if parameters else None,
            "packing": entry.packing,
            "next_name": names.next_version(name),
        },
    )


def _lengths(run: ResolvedRun, around: Surroundings) -> dict[Split, Lengths]:
    """By split; of training alone where there are only the dataset's facts to guess from."""
    texts = text_rule(around.base.uri, system=bool(run.system_prompt))
    pictures = PictureRule(around.base, run.max_pixels)
    if around.records is None:
        return {"train": guessed(around.data, run, texts, pictures)}
    films = FilmRule(around.base, texts, run.max_pixels)
    return {split: lengths_of(around.records, run, texts, pictures, films, around.sizes, split) for split in SPLITS}


def _size(spec: RunSpec, around: Surroundings) -> tuple[str, int | None]:
    asked = around.architecture.entry.size(spec.model.architecture_size)
    counted = around.base.parameters
    return spec.model.architecture_size, counted or (asked.parameters if asked else None)


def _mode_reason(entry: CatalogEntry) -> str:
    if entry.modes[0] == "LoRA":
        return "LoRA first: it needs less memory and forgets less"
    return f"{entry.display_name} is trained with {entry.modes[0]} only"


def _check_mode(document: RunDocument, entry: CatalogEntry, mode: str, four_bit: bool) -> None:
    """What the catalog says against the entry that the base model led to, which need not be the one named."""
    problems = []
    if mode not in entry.modes:
        problems.append(
            Problem(
                document.path("model.trainingMode.type"),
                f"{entry.display_name}, which the base model is, cannot be trained in this mode",
                value=repr(mode),
                allowed=", ".join(entry.modes),
            )
        )
    if mode == "SFT" and four_bit:
        problems.append(
            Problem(
                document.path("model.quantization.enabled"),
                "4 bit cannot be combined with SFT: weights in 4 bit cannot be trained",
                value="true",
                allowed="false",
            )
        )
    if problems:
        raise SettingsError(problems)


def _check_dropout(document: RunDocument, around: Surroundings, mode: str) -> None:
    asked = document.spec.model.hyperparameters.lora_dropout
    if mode == "LoRA" and asked and around.has_experts:
        raise SettingsError(
            Problem(
                document.path(f"{_OWN}loraDropout"),
                f"{around.architecture.entry.display_name} has routed experts, whose adapters have no dropout",
                value=str(asked),
                allowed="0",
            )
        )


def _check_pixels(document: RunDocument, base: BaseModel) -> None:
    asked = document.spec.model.hyperparameters.max_pixels
    if asked is None or not base.tensors:
        return
    problem, allowed = None, None
    if base.pixel_limit is None:
        problem = "cannot be set: the base model's processor does not scale pictures to an area"
    elif base.pixels_per_token is not None and asked < base.pixels_per_token:
        problem, allowed = "is less than one image token", f">= {base.pixels_per_token}"
    if problem is not None:
        where = document.path(f"{_OWN}maxPixels")
        raise SettingsError(Problem(where, problem, value=str(asked), allowed=allowed, fix="leave it out"))


def _check_metric(document: RunDocument) -> None:
    spec = document.spec
    asked, known = spec.model.hyperparameters.early_stopping_metric, (_LOSS, *METRICS[spec.task])
    if asked is not None and asked not in known:
        raise SettingsError(
            Problem(
                document.path(f"{_OWN}earlyStoppingMetric"),
                f"is no score of the task {spec.task.value}",
                value=repr(asked),
                allowed=", ".join(known),
            )
        )


def _name(spec: RunSpec, ledger: Ledger, size: str, mode: str, four_bit: str | None) -> str:
    asked = spec.name.strip() or None
    made = names.suggested(spec.task, size, mode, four_bit)
    return ledger.auto("name", asked, (made, "the run.json has no name: task, size and key settings make one"))


def _prompts(spec: RunSpec, ledger: Ledger) -> Prompts:
    prompts = prompts_for(spec.task, spec.system_prompt)
    path = "system-prompt.systemPrompt"
    if prompts.source == "default":
        ledger.note(path, prompts.system, "default", f"airtune's own prompt for {spec.task.value}")
    elif prompts.source == "vi":
        ledger.note(path, prompts.system, "user", 'the run.json asks for "vi": what vi-sdk serves this task with')
    else:
        ledger.note(path, prompts.system, "user", ASKED)
    return prompts


def _learning(spec: RunSpec, ledger: Ledger, around: Surroundings, size_band: str, mode: Any) -> dict[str, Any]:
    knobs, data = spec.model.hyperparameters, around.data
    epochs = ledger.auto(f"{_KNOBS}epochs", knobs.epochs, tables.epochs(data.train_images))
    rate = ledger.auto(f"{_KNOBS}learningRate", knobs.learning_rate, tables.learning_rate(mode, size_band))
    batch = ledger.auto(f"{_KNOBS}batchSize", knobs.batch_size, tables.batch_size(size_band, around.device.memory_gb))
    accumulation = ledger.auto(
        f"{_KNOBS}gradientAccumulation",
        knobs.gradient_accumulation,
        tables.gradient_accumulation(batch, around.devices),
    )
    optimizer = ledger.default(f"{_KNOBS}optimizer", knobs.optimizer, "AdamW", "weight decay apart from the gradient")
    rank = ledger.default(f"{_OWN}loraRank", knobs.lora_rank, 16, "enough for one task")
    patience = ledger.auto(
        f"{_OWN}earlyStoppingPatience",
        knobs.early_stopping_patience,
        tables.early_stopping_patience(epochs, data.validation_samples),
    )
    return {
        "epochs": epochs,
        "learning_rate": rate,
        "batch_size": batch,
        "gradient_accumulation": accumulation,
        "devices": around.devices,
        "optimizer": optimizer,
        "learning_rate_schedule": ledger.default(
            f"{_OWN}learningRateSchedule", knobs.learning_rate_schedule, "constant", "the platform's schedule"
        ),
        "warmup_ratio": ledger.default(
            f"{_OWN}warmupRatio", knobs.warmup_ratio, 0.03, "the optimizer's first estimates are poor"
        ),
        "weight_decay": ledger.default(
            f"{_OWN}weightDecay",
            knobs.weight_decay,
            0.01 if optimizer == "AdamW" else 0.0,
            f"the usual value for {optimizer}",
        ),
        "max_grad_norm": ledger.default(f"{_OWN}maxGradNorm", knobs.max_grad_norm, 1.0, "no single batch can spoil it"),
        "seed": ledger.default(f"{_OWN}seed", knobs.seed, 0, "the same run gives the same model"),
        "early_stopping_patience": patience or None,
        "early_stopping_metric": ledger.default(
            f"{_OWN}earlyStoppingMetric", knobs.early_stopping_metric, _LOSS, "it costs no answers"
        ),
        "lora_rank": rank,
        "lora_alpha": ledger.default(f"{_OWN}loraAlpha", knobs.lora_alpha, 2 * rank, "twice the rank"),
        "lora_dropout": ledger.default(f"{_OWN}loraDropout", knobs.lora_dropout, *_dropout(around)),
    }


def _dropout(around: Surroundings) -> tuple[float, str]:
    if around.has_experts:
        return 0.0, "adapters of routed experts have none"
    return 0.05, "a little against overfitting"


def _limits(spec: RunSpec, ledger: Ledger, around: Surroundings, parameters: int | None) -> dict[str, Any]:
    knobs, base = spec.model.hyperparameters, around.base
    longest = (
        base.longest,
        "the longest sequence that the base model knows" if base.longest else "the base model sets no limit",
    )
    steps = ledger.default(f"{_OWN}checkpointEverySteps", knobs.checkpoint_every_steps, 0, "time decides, not steps")
    minutes = ledger.default(
        f"{_OWN}checkpointEveryMinutes", knobs.checkpoint_every_minutes, 10.0, "at most this much work can be lost"
    )
    return {
        "max_pixels": ledger.auto(f"{_OWN}maxPixels", knobs.max_pixels, tables.max_pixels(base.pixel_limit)),
        "max_sequence_length": ledger.auto(f"{_OWN}maxSequenceLength", knobs.max_sequence_length, longest),
        "checkpoint_every_steps": steps or None,
        "checkpoint_every_minutes": minutes or None,
        "checkpoints_kept": ledger.default(
            f"{_OWN}checkpointsKept", knobs.checkpoints_kept, 2, "the newest, and one in case it is damaged"
        ),
        "gradient_checkpointing": ledger.auto(
            f"{_OWN}gradientCheckpointing",
            knobs.gradient_checkpointing,
            tables.gradient_checkpointing(parameters, around.device.memory_gb),
        ),
    }


def _sampling(spec: RunSpec, ledger: Ledger, data: DataFacts) -> Sampling:
    asked = spec.model.evaluation
    temperature = ledger.auto(f"{_DRAW}temperature", asked.temperature, tables.temperature(spec.task))
    tokens = tables.max_new_tokens(spec.task, data.target_characters)
    return Sampling(
        max_new_tokens=ledger.auto(f"{_DRAW}maxNewTokens", asked.max_new_tokens, tokens),
        top_k=ledger.default(f"{_DRAW}topK", asked.top_k, 50, "the usual value"),
        top_p=ledger.default(f"{_DRAW}topP", asked.top_p, 0.95, "the usual value"),
        temperature=temperature,
        repetition_penalty=ledger.default(
            f"{_DRAW}repetitionPenalty", asked.repetition_penalty, 1.05, "gentle: answers may repeat words"
        ),
        seed=ledger.default(f"{_DRAW}seed", asked.seed, 0, "the same answers each time"),
        do_sample=ledger.auto(
            f"{_DRAW}doSample", asked.do_sample, (temperature > 0, f"the temperature is {temperature:g}")
        ),
        stop_strings=asked.stop_strings or (),
    )


def _record_sources(spec: RunSpec, ledger: Ledger, around: Surroundings, run: ResolvedRun) -> None:
    architecture = around.architecture
    ledger.note("dataset.projectKind", run.task.value, "user", ASKED)
    ledger.note("dataset.airtune.source", run.dataset_source, "user", ASKED)
    found = (run.dataset_format, "found by looking at the folder")
    ledger.auto("dataset.airtune.format", spec.dataset.format, found)
    ledger.note("model.architecture.name", run.architecture, architecture.source, architecture.reason)
    ledger.note("model.architecture.size", run.size, "user", ASKED)
    catalog = f"the catalog's model for {architecture.entry.display_name} {run.size}"
    ledger.default(f"{_OWN}baseModel", spec.model.base_model, run.base_model, catalog)
    ledger.default(
        f"{_OWN}ignoreEstimate", spec.model.ignore_estimate, False, "what fits no GPU that is known is refused at once"
    )
    if run.feature_cache is not None:
        ledger.note(f"{_OWN}featureCache", run.feature_cache, "user", ASKED)
