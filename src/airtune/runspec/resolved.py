"""What will run: every value concrete, with the reason beside it.

:class:`ResolvedRun` is what training, evaluation and publishing read; :class:`Resolution` is the file
``resolution.json`` around it. Both are written by :mod:`airtune.resolution`.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from airtune.errors import Problem, SettingsError
from airtune.runspec.tasks import Task

Source = Literal["user", "auto", "default"]
"""Who decided a value: the run.json, airtune's tables together with the data, or airtune's fixed default."""

TrainingMode = Literal["LoRA", "SFT"]
QuantizationType = Literal["NF4", "FP4"]
Precision = Literal["BFloat16", "Float16", "Float32"]
Optimizer = Literal["AdamW", "Adam"]
Schedule = Literal["constant", "linear", "cosine"]
StoppingMetric = Literal["loss", "exact_match", "token_f1", "f1_50", "mean_iou"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Sampling(_Frozen):
    """How answers are drawn. Order: repetition penalty, temperature, top-k, top-p, draw.

    Attributes:
        max_new_tokens: longest answer, in tokens.
        top_k: how many of the likeliest tokens may be drawn; 0 = all.
        top_p: smallest set of tokens whose probabilities add up to this may be drawn; 1 = all.
        temperature: 0 = greedy.
        repetition_penalty: 1 = none.
        seed: seed of the draws; -1 = a new one each time.
        do_sample: whether to draw at all; False is greedy whatever the temperature.
        stop_strings: an answer ends when one of these appears.
    """

    max_new_tokens: int = Field(ge=1)
    top_k: int = Field(ge=0)
    top_p: float = Field(gt=0, le=1)
    temperature: float = Field(ge=0)
    repetition_penalty: float = Field(gt=0)
    seed: int = 0
    do_sample: bool = True
    stop_strings: tuple[str, ...] = Field(default=(), strict=False)

    @property
    def greedy(self) -> bool:
        """Whether these settings mean greedy decoding."""
        return not self.do_sample or self.temperature == 0 or self.top_k == 1


class ResolvedRun(_Frozen):
    """One run with every value concrete.

    Attributes:
        name: the flow's name; also the name under which a model is promoted.
        task: what the model learns.
        system_prompt: the text that stands before every conversation; may be empty.
        system_prompt_source: ``user`` (from the run.json), ``default`` (airtune's own) or ``vi`` (the SDK's).
        user_prompt: the user's text for tasks whose samples bring none.
        base_model: URI (or hub id) of the model that is trained.
        architecture: catalog key.
        derived_entry: where the architecture's parts are, when the catalog does not have it and they were derived from
            the model's own files; see :mod:`airtune.catalog.derivation`.
        size: size as the catalog or the user names it.
        parameters: number of parameters of the base model.
        training_mode: LoRA, or SFT (every parameter is trained).
        batch_size: samples a step and device.
        gradient_accumulation: steps whose gradients are added up before an update.
        devices: how many devices the run is resolved for. Trained on another number of them, each takes another share
            of the same effective batch.
        warmup_ratio: share of all steps in which the learning rate rises from 0.
        max_grad_norm: gradients are clipped to this norm; 0 = not clipped.
        early_stopping_patience: epochs without a better validation after which training ends; None = never.
        early_stopping_metric: what has to get better: ``loss`` (validation loss), or the score of real answers to
            validation samples, see :data:`airtune.answering.scoring.METRICS`.
        max_pixels: largest area of a picture in pixels, larger ones are scaled down; None = the processor's own.
        max_sequence_length: longest sample in tokens, longer ones are set aside; None = the model's own.
        checkpoint_every_steps: None = only by time and when told to stop.
        checkpoint_every_minutes: None = only by steps and when told to stop.
        checkpoints_kept: how many checkpoints are kept, newest first.
        gradient_checkpointing: recompute activations in the backward pass instead of keeping them.
        sampling: how answers are drawn.
        feature_cache: URI below which vision features are kept between runs; None = on the training machine alone.
        dataset_source: URI of the dataset's folder.
        dataset_format: name of the dataset's format.
        shuffle: whether the order of the training samples is drawn anew each epoch.
    """

    name: str
    task: Task = Field(strict=False)
    system_prompt: str
    system_prompt_source: Literal["user", "default", "vi"]
    user_prompt: str | None
    base_model: str
    architecture: str
    size: str
    parameters: int | None
    training_mode: TrainingMode
    quantization_enabled: bool
    quantization_type: QuantizationType
    precision: Precision
    epochs: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    batch_size: int = Field(ge=1)
    gradient_accumulation: int = Field(ge=1)
    optimizer: Optimizer
    learning_rate_schedule: Schedule
    warmup_ratio: float = Field(ge=0, le=1)
    weight_decay: float = Field(ge=0)
    max_grad_norm: float = Field(ge=0)
    seed: int = Field(ge=0)
    early_stopping_patience: int | None = Field(ge=1)
    early_stopping_metric: StoppingMetric = "loss"
    lora_rank: int = Field(ge=1)
    lora_alpha: int = Field(ge=1)
    lora_dropout: float = Field(ge=0, lt=1)
    max_pixels: int | None = Field(ge=1)
    max_sequence_length: int | None = Field(ge=1)
    checkpoint_every_steps: int | None = Field(ge=1)
    checkpoint_every_minutes: float | None = Field(gt=0)
    checkpoints_kept: int = Field(ge=1)
    gradient_checkpointing: bool
    sampling: Sampling
    feature_cache: str | None = None
    dataset_source: str
    dataset_format: str
    shuffle: bool = True
    derived_entry: dict[str, Any] | None = None
    devices: int = Field(default=1, ge=1)

    @property
    def effective_batch(self) -> int:
        """Samples an update, over all devices: it belongs to the run, whatever trains it."""
        return self.batch_size * self.gradient_accumulation * self.devices


class Entry(_Frozen):
    """One setting on record.

    Attributes:
        path: the setting's name in the run.json, for example ``model.hyperparameters.epochs``.
        value: what will run.
        source: who decided it.
        reason: why, in one sentence.
    """

    path: str
    value: Any
    source: Source
    reason: str


class Resolution(_Frozen):
    """The content of ``resolution.json``.

    Attributes:
        run: what will run.
        entries: each setting with its source and reason.
        warnings: advice; nothing was changed because of it.
        estimate: memory (bytes) and steps that the run will take, see :mod:`airtune.resolution.estimate`.
        facts: what the decisions rest on: numbers of the dataset, the base model and the device.
    """

    run: ResolvedRun
    entries: tuple[Entry, ...] = Field(strict=False)
    warnings: tuple[str, ...] = Field(strict=False)
    estimate: dict[str, Any]
    facts: dict[str, Any]

    def __str__(self) -> str:
        """What a person at a terminal wants to know: the settings that airtune chose, why, and its advice."""
        chosen = [entry for entry in self.entries if entry.source == "auto"]
        width = max((len(entry.path) for entry in chosen), default=0)
        said = {source: sum(entry.source == source for entry in self.entries) for source in ("user", "auto", "default")}
        counted = f"{said['user']} asked for, {said['default']} by default, {said['auto']} worked out"
        lines = [f"{len(self.entries)} settings: {counted}"]
        lines += [f"  {entry.path:<{width}}  {entry.value}  ({entry.reason.rstrip('.')})" for entry in chosen]
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def to_json(self) -> str:
        """The file's text: indented JSON with a final newline."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str = "resolution.json") -> Self:
        """Reads the file.

        Raises:
            SettingsError: it is not a resolution; every fault is named.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise SettingsError(
                Problem(f"{where}: {'.'.join(map(str, fault['loc']))}", fault["msg"], fix="run `airtune resolve` again")
                for fault in error.errors(include_url=False)
            ) from None
