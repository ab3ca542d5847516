"""Which catalog entry trains a base model: the one that the run.json names, unless the model is another."""

from __future__ import annotations

from dataclasses import dataclass

from airtune.catalog import registry
from airtune.catalog.derivation import NotDerivableError, derive
from airtune.catalog.entry import CatalogEntry
from airtune.environment import Environment
from airtune.errors import NotPermittedError, Problem, SettingsError
from airtune.resolution.base_model import BaseModel, read_base_model
from airtune.resolution.ledger import ASKED
from airtune.runspec.document import RunDocument
from airtune.runspec.resolved import Source


@dataclass(frozen=True)
class Architecture:
    """The decision.

    Attributes:
        entry: what the run is trained as.
        source: ``user``, or ``auto`` where the base model decided.
        reason: why, in a sentence without a full stop.
        warnings: what the user should know.
    """

    entry: CatalogEntry
    source: Source
    reason: str
    warnings: tuple[str, ...] = ()


def choose(document: RunDocument, model_type: str | None, base: BaseModel | None = None) -> Architecture:
    """The entry for a run.

    Args:
        document: a run.json; with a base model of its own it may name an architecture that the catalog does not have.
        model_type: of the base model; None when its files could not be looked at.
        base: the base model; looked at when it is needed and not given.

    Raises:
        SettingsError: no entry trains a model of this type and its own files leave doubt where its parts are, or the
            named architecture is unknown.
        NotPermittedError: the entry runs code that ships with the model, and this installation does not allow that.
    """
    name, where = document.spec.model.architecture_name, document.path("model.architecture.name")
    named = registry.find(name)
    if named is None and (model_type is None or document.spec.model.base_model is None):
        raise SettingsError(registry.unknown_architecture(name, where))
    if named is not None and (model_type is None or model_type in named.model_types):
        return Architecture(
            _permitted(named, document, model_type), "user", ASKED if name == named.key else f"the key of {name!r}"
        )
    other = registry.entry_for_model_type(model_type or "", hint=named.key if named else None)
    if other is None:
        return _derived(document, model_type or "", base)
    said = named.key if named is not None else f"{name!r}, which is in no catalog"
    remedy = f", or give a base model of type {named.model_type}" if named is not None else ""
    warning = (
        f"The run.json names {said}, but the base model is a {model_type}: it is trained and published as "
        f"{other.key}. Set architecture to {other.key!r}{remedy}."
    )
    return Architecture(
        entry=_permitted(other, document, model_type),
        source="auto",
        reason=f"the base model is a {model_type}, which {other.key} trains; the run.json names {said}",
        warnings=(warning,),
    )


def _derived(document: RunDocument, model_type: str, base: BaseModel | None) -> Architecture:
    where = document.path("model.airtune.baseModel")
    source = str(document.spec.model.base_model)
    known = base if base is not None else read_base_model(source, where=where)
    try:
        entry = derive(known.config, [(tensor.name, tensor.shape) for tensor in known.tensors])
    except NotDerivableError as error:
        raise SettingsError(
            Problem(
                where,
                f"the base model is a {model_type!r}, which no architecture of the catalog trains, and its own files "
                f"leave doubt where its parts are: {error}",
                value=repr(source),
                allowed=", ".join(registry.known_model_types()),
                fix="give a base model of one of these types, or add include/configs/catalog/KEY.yaml with the keys "
                "key, display_names, model_type, hf_class, sizes, modes, video, parts (language, vision, projector, "
                "head: anchored patterns of module names), lora_targets and quantization_skip",
            )
        ) from error
    warning = (
        f"The base model is a {model_type}, which is not in the catalog: where its parts are was derived from its own "
        f"files. LoRA adapts {', '.join(entry.lora_targets)}; 4 bit leaves out {', '.join(entry.quantization_skip)}. "
        "Datature's SDK has no loader for it."
    )
    return Architecture(
        entry=entry,
        source="auto",
        reason=f"the base model is a {model_type}: its parts were derived from its own files",
        warnings=(warning,),
    )


def _permitted(entry: CatalogEntry, document: RunDocument, model_type: str | None) -> CatalogEntry:
    if model_type is None and document.spec.model.base_model is None:
        return entry  # the catalog's own models need no code from elsewhere
    if entry.runs_remote_code(model_type) and not Environment.read().allow_remote_code:
        raise NotPermittedError(
            Problem(
                document.path("model.architecture.name"),
                f"{entry.display_name} runs code that ships with the model, which this installation does not allow",
                value=repr(entry.key),
                fix="choose another architecture, or ask who runs this installation for AIRTUNE_ALLOW_REMOTE_CODE=1",
            )
        )
    return entry
