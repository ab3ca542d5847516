"""The typed view of a run.json: every setting by its Python name, None where airtune is to fill it in."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from airtune.runspec.resolved import Optimizer, Precision, QuantizationType, Schedule, StoppingMetric, TrainingMode
from airtune.runspec.tasks import Task


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class DatasetSpec(_View):
    """What is learnt from; the meaning of each value is in :mod:`airtune.runspec.blocks`."""

    source: str | None = None
    format: str | None = None
    dataset_id: str | None = None
    split_ratio: float | None = None
    shuffle: bool | None = None
    minimum_images: int | None = None
    maximum_set_aside: float | None = None
    expectations: str | None = None
    data_docs: bool | None = None


class HyperparametersSpec(_View):
    """How it learns: the platform's knobs and ours."""

    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    gradient_accumulation: int | None = None
    optimizer: Optimizer | None = None
    learning_rate_schedule: Schedule | None = None
    warmup_ratio: float | None = None
    weight_decay: float | None = None
    max_grad_norm: float | None = None
    seed: int | None = None
    early_stopping_patience: int | None = None
    early_stopping_metric: StoppingMetric | None = None
    lora_rank: int | None = None
    lora_alpha: int | None = None
    lora_dropout: float | None = None
    max_pixels: int | None = None
    max_sequence_length: int | None = None
    checkpoint_every_steps: int | None = None
    checkpoint_every_minutes: float | None = None
    checkpoints_kept: int | None = None
    gradient_checkpointing: bool | None = None


class SamplingSpec(_View):
    """How answers are drawn, from either spelling."""

    max_new_tokens: int | None = None
    top_k: int | None = None
    top_p: float | None = None
    temperature: float | None = None
    repetition_penalty: float | None = None
    do_sample: bool | None = None
    seed: int | None = None
    stop_strings: tuple[str, ...] | None = None


class ModelSpec(_View):
    """What is trained."""

    architecture_name: str
    architecture_size: str
    base_model: str | None = None
    feature_cache: str | None = None
    ignore_estimate: bool | None = None
    training_mode: TrainingMode | None = None
    quantization_enabled: bool | None = None
    quantization_type: QuantizationType | None = None
    precision: Precision | None = None
    hyperparameters: HyperparametersSpec = HyperparametersSpec()
    evaluation: SamplingSpec = SamplingSpec()


class RunSpec(_View):
    """A run as it was asked for."""

    name: str
    task: Task
    system_prompt: str | None
    dataset: DatasetSpec
    model: ModelSpec
