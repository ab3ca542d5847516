"""Which catalog entry trains a base model: the one that the run.json names, unless the model is another."""

from __future__ import annotations

from dataclasses import dataclass

from airtune.catalog import registry
from airtune.catalog.entry import CatalogEntry
from airtune.environment import Environment
from airtune.errors import NotPermittedError, Problem, SettingsError
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


def choose(document: RunDocument, model_type: str | None) -> Architecture:
    """The entry for a run.

    Args:
        document: a run.json that names an architecture of the catalog.
        model_type: of the base model; None when its files could not be looked at.

    Raises:
        SettingsError: no entry trains a model of this type, or the named architecture is unknown.
        NotPermittedError: the entry runs code that ships with the model, and this installation does not allow that.
    """
    name = document.spec.model.architecture_name
    named = registry.entry(name, where=document.path("model.architecture.name"))
    if model_type is None or model_type in named.model_types:
        return Architecture(
            _permitted(named, document, model_type), "user", ASKED if name == named.key else f"the key of {name!r}"
        )
    other = registry.entry_for_model_type(model_type, hint=named.key)
    if other is None:
        raise SettingsError(
            Problem(
                document.path("model.airtune.baseModel"),
                f"the base model is a {model_type!r}, which no architecture of the catalog trains",
                value=repr(document.spec.model.base_model),
                allowed=", ".join(registry.known_model_types()),
                fix="give a base model of one of these types",
            )
        )
    warning = (
        f"The run.json names {named.key}, but the base model is a {model_type}: it is trained and published as "
        f"{other.key}. Set architecture to {other.key!r}, or give a base model of type {named.model_type}."
    )
    return Architecture(
        entry=_permitted(other, document, model_type),
        source="auto",
        reason=f"the base model is a {model_type}, which {other.key} trains; the run.json names {named.key}",
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
