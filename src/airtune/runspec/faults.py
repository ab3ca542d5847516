"""From pydantic's errors to problems in words: the JSON path, the value, what is allowed, the nearest match."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from airtune.errors import Problem
from airtune.runspec.json_text import join, json_text

_WHOLE: Final = "is not a whole number"
_MESSAGES: Final[dict[str, str]] = {
    "missing": "is missing",
    "null": "is null",
    "int_type": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "bool_type": "is neither true nor false",
    "string_type": "is not a text",
    "string_too_short": "is empty",
    "string_pattern_mismatch": "is empty",
    "literal_error": "is not one of the allowed values",
    "list_type": "is not a list",
    "dict_type": "is not an object",
    "model_type": "is not an object",
    "extra_forbidden": "is no setting of airtune",
}
_FIXES: Final = {"null": 'leave the key out, or write "auto" where that is allowed'}


def validated(
    model: type[BaseModel], value: object, path: str, problems: list[Problem], *, where: str = "run.json"
) -> Any:
    """The value as the model has it; None when it does not fit, with every fault added to ``problems``."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=True)
        problems += [_problem(model, fault, path, where) for fault in _one_per_place(found)]
        return None


def allowed_text(schema: Mapping[str, Any]) -> str | None:
    """What a JSON schema lets through, in words; None when it says nothing that helps."""
    kinds = [_kind_text(kind) for kind in schema.get("anyOf", [schema])]
    text = " or ".join(kind for kind in kinds if kind)
    usual = schema.get("x-usual")
    if usual:
        text += f" (usual: {json_text(usual[0])} to {json_text(usual[1])})"
    return text or None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like this one (capitals, dashes and underscores do not count), or None."""
    plain = {_plain(each): each for each in known}
    close = difflib.get_close_matches(_plain(name), list(plain), n=1, cutoff=0.6)
    return plain[close[0]] if close else None


@cache
def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON schema, by the keys of the run.json."""
    return model.model_json_schema(by_alias=True)


def field_schema(model: type[BaseModel], location: Sequence[str | int]) -> dict[str, Any]:
    """The JSON schema at a place within a model; empty when the model says nothing about it."""
    root = schema_of(model)
    at: Any = root
    for part in location:
        at = _deref(root, at)
        if isinstance(part, int):
            at = next((kind["items"] for kind in at.get("anyOf", [at]) if "items" in kind), {})
        else:
            at = at.get("properties", {}).get(part, {})
    return dict(_deref(root, at))


def _deref(root: Mapping[str, Any], at: Any) -> Any:
    while isinstance(at, Mapping) and "$ref" in at:
        at = {**root["$defs"][at["$ref"].rsplit("/", 1)[-1]], **{key: at[key] for key in at if key != "$ref"}}
    return at


def _one_per_place(faults: list[ErrorDetails]) -> list[ErrorDetails]:
    # Where several types would do (int or list of int), pydantic reports each try: one of them is enough.
    seen: set[tuple[str | int, ...]] = set()
    kept = []
    for fault in faults:
        place = tuple(part for part in fault["loc"] if not (isinstance(part, str) and ("[" in part or part == "int")))
        if place not in seen:
            seen.add(place)
            kept.append({**fault, "loc": place})
    return kept  # type: ignore[return-value]


def _problem(model: type[BaseModel], fault: ErrorDetails, path: str, where: str) -> Problem:
    location = fault["loc"]
    for part in location:
        path = join(path, part)
    kind = fault["type"]
    schema = field_schema(model, location)
    allowed = allowed_text(schema)
    if kind == "missing":
        parent = fault["input"] if isinstance(fault["input"], Mapping) else {}
        return Problem(path or where, _MESSAGES[kind], allowed=allowed, fix=_renamed(location, parent))
    if kind == "extra_forbidden":
        siblings = sorted(field_schema(model, location[:-1]).get("properties", {}))
        close = nearest(str(location[-1]), siblings)
        return Problem(
            path,
            _MESSAGES[kind],
            value=json_text(fault["input"]),
            allowed=", ".join(siblings) or "no keys at all",
            fix=f"did you mean {close!r}?" if close else None,
        )
    return Problem(
        path or where,
        _MESSAGES.get(kind) or _range_message(kind),
        value=json_text(fault["input"]),
        allowed=allowed,
        fix=_FIXES.get(kind) or _did_you_mean(fault["input"], schema),
    )


def _range_message(kind: str) -> str:
    return "is out of range" if kind.startswith(("greater", "less")) else "cannot be used"


def _renamed(location: Sequence[str | int], parent: Mapping[str, Any]) -> str | None:
    if not location or not isinstance(location[-1], str):
        return None
    close = nearest(location[-1], [key for key in parent if isinstance(key, str)])
    return f"rename {close!r} to {location[-1]!r}" if close else "add it"


def _did_you_mean(value: object, schema: Mapping[str, Any]) -> str | None:
    known = [
        each
        for kind in schema.get("anyOf", [schema])
        for each in [*kind.get("enum", []), *([kind["const"]] if "const" in kind else [])]
        if isinstance(each, str)
    ]
    close = nearest(value, known) if isinstance(value, str) and known else None
    return f'did you mean "{close}"?' if close else None


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def _kind_text(schema: Mapping[str, Any]) -> str | None:
    if "const" in schema:
        return json_text(schema["const"])
    if "enum" in schema:
        return ", ".join(json_text(value) for value in schema["enum"])
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return f"{'an integer' if kind == 'integer' else 'a number'}{_bounds(schema)}"
    if kind == "array":
        inner = _kind_text(schema.get("items", {}))
        return f"a list ({inner})" if inner else "a list"
    simple: dict[Any, Callable[[], str]] = {
        "boolean": lambda: "true or false",
        "string": lambda: "a text that is not empty" if schema.get("minLength") else "a text",
        "object": lambda: "an object",
        "null": lambda: "null",
    }
    return simple[kind]() if kind in simple else None


def _bounds(schema: Mapping[str, Any]) -> str:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    parts = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema and abs(schema[key]) < 1e9]
    return f" {' and '.join(parts)}" if parts else ""
