"""The settings of each block of a run.json, key by key.

The keys are the platform's, verbatim; what the platform does not have stands in the object ``airtune`` of the
same block's settings. The descriptions say each setting's meaning and default: the JSON schema, ``airtune check``
and the documentation take them from here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from airtune.runspec.fields import (
    Count,
    CountOrZero,
    OrAuto,
    OwnObject,
    PlatformObject,
    Positive,
    PositiveOrZero,
    Seed,
    Share,
    Switch,
    Text,
)
from airtune.runspec.resolved import Optimizer, Precision, QuantizationType, Schedule, StoppingMetric, TrainingMode

TaskName = Literal["phrase-grounding", "vqa", "freeform", "video-freeform", "generic"]
DatasetFormat = Literal["vi", "chat-jsonl", "huggingface", "coco", "voc", "yolo", "csv"]


class DatasetOwn(OwnObject):
    """What the platform's dataset block does not have."""

    source: Text | None = Field(None, description="where the dataset's folder lies: file:///… or s3://bucket/…")
    format: Annotated[DatasetFormat | None, OrAuto()] = Field(
        None, description="the dataset's format; auto: found out by looking"
    )
    minimum_images: Count = Field(None, description="refuse a dataset with fewer images; default 20")
    maximum_set_aside: Share = Field(
        None, description="refuse a dataset of which a larger share has to be set aside; default 0.05"
    )
    expectations: Text | None = Field(
        None,
        description="a suite of expectations that is laid over the task's own: file:///… or s3://…/suite.json",
    )
    data_docs: Switch = Field(
        None, description="write Great Expectations' own pages into validation/data-docs as well; default false"
    )


class DatasetSettings(PlatformObject):
    """The settings of the block ``dataset``."""

    project_kind: TaskName = Field(description="the task")
    dataset_id: str | None = Field(None, description="the platform's id of the dataset; not used by airtune")
    split_ratio: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, OrAuto()] = Field(
        None, description="share of the images for validation where the dataset brings no split; auto: by size"
    )
    shuffle: Switch = Field(None, description="whether the order of the samples is drawn anew each epoch; default true")
    airtune: DatasetOwn = Field(default_factory=DatasetOwn, description="what the platform does not have")


class SystemPromptOwn(OwnObject):
    """Nothing yet: every key is a mistake."""


class SystemPromptSettings(PlatformObject):
    """The settings of the block ``system-prompt``."""

    system_prompt: str = Field(
        description='the text before every conversation; "vi": the prompts with which vi-sdk serves the task'
    )
    airtune: SystemPromptOwn = Field(default_factory=SystemPromptOwn, description="what the platform does not have")


class Architecture(PlatformObject):
    """What is trained."""

    name: Text = Field(description="a catalog key such as qwen25vl, or a display name such as Qwen2.5-VL")
    size: Text = Field(description='a size of the catalog such as "7B"; with baseModel any text')


class TrainingModeSettings(PlatformObject):
    """How it is trained."""

    type: Annotated[TrainingMode | None, OrAuto()] = Field(
        None, description="LoRA trains an adapter, SFT every parameter; default LoRA where the architecture allows it"
    )


class Quantization(PlatformObject):
    """4-bit weights of the language model."""

    enabled: Switch = Field(
        None, description="whether the base is loaded in 4 bit; default true for LoRA, false for SFT"
    )
    type: Annotated[QuantizationType | None, OrAuto()] = Field(None, description="the 4-bit format; default NF4")


class Compute(PlatformObject):
    """What it computes in."""

    precision_type: Annotated[Precision | None, OrAuto()] = Field(
        None, description="what the model computes in; default BFloat16"
    )


class Hyperparameters(PlatformObject):
    """How it learns."""

    epochs: Count = Field(None, description="passes over the training samples; auto: by the number of images")
    learning_rate: Positive = Field(
        None,
        description="how far one step goes; auto: by size and training mode",
        json_schema_extra={"x-usual": [1e-5, 1e-4]},
    )
    batch_size: Count = Field(
        None,
        description="samples a step and device; auto: by size and GPU memory",
        json_schema_extra={"x-usual": [1, 32]},
    )
    gradient_accumulation: Count = Field(
        None,
        description="steps whose gradients are added up before an update; auto: to an effective batch of 8",
        json_schema_extra={"x-usual": [1, 8]},
    )
    optimizer: Annotated[Optimizer | None, OrAuto()] = Field(
        None, description="AdamW, or Adam (weight decay as part of the gradient); default AdamW"
    )


class EvaluationSnakeCase(PlatformObject):
    """How answers are drawn when the model is scored and served, in the spelling that vi-sdk reads."""

    model_config = ConfigDict(alias_generator=None)

    max_new_tokens: Count = Field(
        None, description="longest answer in tokens; auto: by task", json_schema_extra={"x-usual": [128, 1024]}
    )
    top_k: CountOrZero = Field(
        None, description="draw from this many tokens, 0: from all; default 50", json_schema_extra={"x-usual": [1, 100]}
    )
    top_p: Annotated[Annotated[float, Field(gt=0, le=1)] | None, OrAuto()] = Field(
        None, description="draw from the likeliest tokens of this total probability; default 0.95"
    )
    temperature: PositiveOrZero = Field(
        None, description="0 is greedy; auto: by task", json_schema_extra={"x-usual": [0.1, 2.0]}
    )
    repetition_penalty: Positive = Field(
        None, description="1 is none; default 1.05", json_schema_extra={"x-usual": [1.0, 2.0]}
    )
    do_sample: Switch = Field(None, description="false is greedy; auto: as the temperature says")
    seed: Annotated[Annotated[int, Field(ge=-1, le=4_294_967_295)] | None, OrAuto()] = Field(
        None, description="seed of the draws, -1: a new one each time; default 0"
    )
    stop_strings: list[str] | None = Field(None, description="an answer ends when one of these appears")
    eos_token_id: int | list[int] | None = Field(None, description="written by airtune: the tokenizer's own")
    pad_token_id: int | None = Field(None, description="written by airtune: the tokenizer's own")
    bos_token_id: int | None = Field(None, description="written by airtune: the tokenizer's own")


class Evaluation(EvaluationSnakeCase):
    """How answers are drawn when the model is scored and served."""

    model_config = ConfigDict(alias_generator=to_camel)


class ModelOwn(OwnObject):
    """What the platform's model block does not have."""

    base_model: Text | None = Field(
        None, description="the model to start from: file:///…, s3://… or a hub id; default: the catalog's for the size"
    )
    learning_rate_schedule: Annotated[Schedule | None, OrAuto()] = Field(
        None, description="how the learning rate goes on after it has risen; default constant"
    )
    warmup_ratio: Share = Field(None, description="share of the steps in which the learning rate rises; default 0.03")
    weight_decay: PositiveOrZero = Field(
        None, description="pull of the weights towards zero; default 0.01 for AdamW, 0 for Adam"
    )
    max_grad_norm: PositiveOrZero = Field(None, description="gradients are clipped to this norm, 0: never; default 1")
    seed: Seed = Field(None, description="seed of everything that is drawn in training; default 0")
    early_stopping_patience: CountOrZero = Field(
        None, description="stop after this many epochs without a better validation, 0: never; auto: by epochs"
    )
    early_stopping_metric: Annotated[StoppingMetric | None, OrAuto()] = Field(
        None,
        description="what has to get better: loss, or a score of the task by answers to 32 validation samples; "
        "default loss",
    )
    lora_rank: Annotated[Annotated[int, Field(ge=1, le=4096)] | None, OrAuto()] = Field(
        None, description="rank of the adapter's matrices; default 16"
    )
    lora_alpha: Count = Field(None, description="scale of the adapter times its rank; default twice the rank")
    lora_dropout: Share = Field(None, description="share of the adapter's inputs left out at random; default 0.05")
    max_pixels: Count = Field(
        None,
        description="larger images, and frames of videos, are scaled down to this area; auto: by the base model's "
        "processor",
    )
    max_sequence_length: Count = Field(
        None, description="longer samples are set aside; auto: what the base model can take"
    )
    checkpoint_every_steps: CountOrZero = Field(
        None, description="write a checkpoint after this many steps, 0: not by steps; default 0"
    )
    checkpoint_every_minutes: PositiveOrZero = Field(
        None, description="write a checkpoint after this many minutes, 0: not by time; default 10"
    )
    checkpoints_kept: Count = Field(None, description="how many checkpoints are kept; default 2")
    gradient_checkpointing: Switch = Field(
        None, description="compute activations twice instead of keeping them; auto: by size and GPU memory"
    )
    feature_cache: Text | None = Field(
        None,
        description="where vision features are kept between runs: file:///… or s3://…; default: this machine alone",
    )
    ignore_estimate: Switch = Field(
        None, description="train although the estimate says that no setting fits the GPU; default false"
    )


class ModelSettings(PlatformObject):
    """The settings of the block ``model``."""

    model_config = ConfigDict(protected_namespaces=())

    architecture: Architecture
    training_mode: TrainingModeSettings = Field(default_factory=TrainingModeSettings)
    quantization: Quantization = Field(default_factory=Quantization)
    compute: Compute = Field(default_factory=Compute)
    hyperparameters: Hyperparameters = Field(default_factory=Hyperparameters)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    airtune: ModelOwn = Field(default_factory=ModelOwn, description="what the platform does not have")
