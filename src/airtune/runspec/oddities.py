"""Keys that are allowed and kept, but not read, although they look as if somebody meant them to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from airtune.runspec.blocks import Evaluation, EvaluationSnakeCase
from airtune.runspec.faults import nearest
from airtune.runspec.fields import OwnObject
from airtune.runspec.json_text import join


def block_notes(model: type[BaseModel], settings: Mapping[str, Any], path: str) -> list[str]:
    """One sentence for each key of a block's settings that is probably a slip of the pen.

    Args:
        model: what the settings are read with.
        settings: the raw settings.
        path: their JSON path.
    """
    own = model.model_fields.get("airtune")
    ours = set(_keys(own.annotation)) if own and isinstance(own.annotation, type) else set()
    return list(_notes(model, settings, path, ours))


def _notes(model: type[BaseModel], raw: Mapping[str, Any], path: str, ours: set[str]) -> Iterable[str]:
    known = _keys(model)
    if model is Evaluation:
        known = [*known, *_keys(EvaluationSnakeCase)]
    for key, value in raw.items():
        below = join(path, key)
        field = next((each for name, each in model.model_fields.items() if (each.alias or name) == key), None)
        if field is not None:
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel) and not issubclass(inner, OwnObject):
                yield from _notes(inner, value, below, ours) if isinstance(value, Mapping) else ()
        elif key in ours:
            yield f'{below} is not read here: {key} belongs into the object "airtune" of the block\'s settings'
        elif key not in known:
            close = nearest(key, [*known, *ours])
            if close:
                yield f"{below} is not read: did you mean {close}?"


def _keys(model: Any) -> list[str]:
    fields: Mapping[str, Any] = getattr(model, "model_fields", {})
    return [field.alias or name for name, field in fields.items()]
