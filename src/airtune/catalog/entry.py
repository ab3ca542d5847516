"""One catalog entry: an architecture that can be trained, its sizes, and where its parts are."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from airtune.runspec.resolved import TrainingMode

Part = Literal["language", "vision", "projector", "head"]
"""The parts of a vision-language model: the language model (with its embeddings), the vision tower, what joins the
two, and the output layer."""

PARTS: Final[tuple[Part, ...]] = ("vision", "projector", "head", "language")
"""In the order in which a module's name is matched: the first part that matches is the module's part."""

SMALL, MEDIUM, LARGE = "Small", "Medium", "Large"


def _anchored(pattern: str) -> str:
    if not pattern.startswith("^"):
        raise ValueError(f"the pattern {pattern!r} is not anchored: start it with ^")
    re.compile(pattern)
    return pattern


Pattern = Annotated[str, AfterValidator(_anchored)]
"""A regular expression for full module names, anchored at the start, so that no tower's layer is met by chance."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Size(_Strict):
    """One published size.

    Attributes:
        hub: id of the model on the Hugging Face hub.
        parameters: number of parameters, as published (rounded; the model's own files are counted when they are there).
    """

    hub: str = Field(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")
    parameters: int = Field(ge=1)

    @property
    def band(self) -> str:
        """Small, Medium or Large, see :func:`band`."""
        return band(self.parameters)


class Parts(_Strict):
    """Anchored patterns of module names per part; a missing part has no pattern of its own."""

    language: Pattern
    vision: Pattern
    projector: Pattern
    head: Pattern


class CatalogEntry(_Strict):
    """An architecture that can be trained.

    Attributes:
        key: the value of ``architecture.name`` in a published run.json.
        display_names: other spellings that a run.json may use; the first one is shown to people.
        model_type: ``model_type`` in the base model's config.json.
        native_model_types: further model types that transformers loads natively for this architecture.
        hf_class: the class in transformers.
        sizes: published sizes by name; none for a derived entry.
        modes: training modes that are allowed.
        video: whether it takes videos.
        remote_code: whether loading a model of ``model_type`` runs code that does not come with transformers; models
            of ``native_model_types`` never do.
        parts: where its parts are.
        lora_targets: last names of the language model's linear layers that LoRA adapts.
        lora_experts: last names of the fused parameters of routed experts (one tensor for all experts of a layer, no
            linear layer each), which LoRA adapts expert by expert; 4 bit does not reach them.
        quantization_skip: modules that stay in 16 bit when the model is loaded in 4 bit.
        packing: whether samples may share one row (not with recurrent layers); models that bring code of their own and
            attention that takes no mask are padded all the same.
        vision_features: whether its forward takes pictures as features that its frozen tower made before.
        derived: whether it was derived from a model's own files, see :mod:`airtune.catalog.derivation`.
        note: anything a user should know, in a sentence.
    """

    key: str = Field(pattern=r"^[a-z0-9]+$")
    display_names: tuple[str, ...] = Field(strict=False, min_length=1)
    model_type: str
    native_model_types: tuple[str, ...] = Field(default=(), strict=False)
    hf_class: str
    sizes: dict[str, Size]
    modes: tuple[TrainingMode, ...] = Field(strict=False, min_length=1)
    video: bool
    remote_code: bool = False
    parts: Parts
    lora_targets: tuple[str, ...] = Field(strict=False, min_length=1)
    lora_experts: tuple[str, ...] = Field(default=(), strict=False)
    quantization_skip: tuple[str, ...] = Field(strict=False, min_length=1)
    packing: bool = True
    vision_features: bool = False
    derived: bool = False
    note: str | None = None

    @property
    def display_name(self) -> str:
        """The name to show to people."""
        return self.display_names[0]

    @property
    def model_types(self) -> tuple[str, ...]:
        """Every ``model_type`` that this entry trains."""
        return (self.model_type, *self.native_model_types)

    @cached_property
    def lora_target_pattern(self) -> str:
        """A regular expression for PEFT's ``target_modules``: it matches full names of language layers only."""
        language = self.parts.language.removeprefix("^")
        return rf"(?:{language}).*\.(?:{'|'.join(map(re.escape, self.lora_targets))})"

    def runs_remote_code(self, model_type: str | None) -> bool:
        """Whether loading a base model of this type (None: unknown) runs code from outside transformers."""
        return self.remote_code and model_type not in self.native_model_types

    def part_of(self, module: str) -> Part | None:
        """The part to which a module or parameter belongs, by its full name; None when no part claims it."""
        for part in PARTS:
            if re.match(getattr(self.parts, part), module):
                return part
        return None

    def size(self, name: str) -> Size | None:
        """The size of this name (capital letters do not matter), or None."""
        wanted = name.strip().lower()
        return next((size for known, size in self.sizes.items() if known.lower() == wanted), None)

    def to_json(self) -> dict[str, Any]:
        """The entry as plain data."""
        return self.model_dump(mode="json")


def band(parameters: int) -> str:
    """Small below 5 billion parameters, Medium below 15, Large from there on."""
    if parameters < 5_000_000_000:
        return SMALL
    return MEDIUM if parameters < 15_000_000_000 else LARGE
