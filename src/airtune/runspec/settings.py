"""Every setting of a run.json by one short path, for example ``model.hyperparameters.epochs``.

The list is made from :mod:`airtune.runspec.blocks`, so a setting is described in one place. The short path is the
name in ``resolution.json``, and an address that does not depend on the order of a file's blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel

from airtune.runspec.faults import field_schema
from airtune.runspec.reading import BLOCKS, BlockName
from airtune.runspec.structure import Flow

NAME: Final = "name"
"""The short path of ``spec.flow.name``."""

EVALUATION: Final = "model.evaluation."
"""Settings below this have two spellings."""


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        path: its short path.
        block: the block in which it stands; None for the flow's name.
        keys: the keys from the block's settings down to it.
        schema: its JSON schema.
        description: what it means, and its default.
        snake_case: the other spelling of the last key, for the settings of ``evaluation``.
    """

    path: str
    block: BlockName | None
    keys: tuple[str, ...]
    schema: Mapping[str, Any]
    description: str
    snake_case: str | None = None


@cache
def all_settings() -> Mapping[str, Setting]:
    """Every setting by its short path, in the order of the file."""
    name = field_schema(Flow, ("name",))
    found = [Setting(NAME, None, ("spec", "flow", "name"), name, str(name.get("description", "")))]
    for block, model in BLOCKS.items():
        found += _below(block, model, model, ())
    return MappingProxyType({setting.path: setting for setting in found})


def _below(block: BlockName, root: type[BaseModel], model: type[BaseModel], keys: tuple[str, ...]) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        at = (*keys, field.alias or name)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _below(block, root, inner, at)
            continue
        path = ".".join((block, *at))
        yield Setting(
            path=path,
            block=block,
            keys=at,
            schema=MappingProxyType(field_schema(root, at)),
            description=field.description or "",
            snake_case=name if path.startswith(EVALUATION) and name != at[-1] else None,
        )
