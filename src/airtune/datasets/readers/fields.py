"""Reading single values of an annotation, each refusal with the key it is about."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from airtune.datasets.draft import Reject, short


def mapping(owner: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under ``key``.

    Raises:
        Reject: it is missing or something else.
    """
    value = _value(owner, key)
    if not isinstance(value, Mapping):
        raise Reject("annotation-shape", f"{key!r} is not an object: {short(value)}")
    return value


def items(owner: Mapping[str, Any], key: str, *, of: str) -> list[Any]:
    """The list under ``key``, which has at least one element.

    Args:
        owner: the object.
        key: its key.
        of: what the elements are, for the message about an empty list.

    Raises:
        Reject: it is missing, empty or something else.
    """
    value = _value(owner, key)
    if not isinstance(value, list):
        raise Reject("annotation-shape", f"{key!r} is not a list: {short(value)}")
    if not value:
        raise Reject("annotation-empty", f"{key!r} is empty: there is no {of}")
    return value


def text(owner: Mapping[str, Any], key: str, *, empty: str) -> str:
    """The text under ``key``; an integer is taken as its digits.

    Args:
        owner: the object.
        key: its key.
        empty: the reason to give where there is nothing but white space.

    Raises:
        Reject: it is missing, empty or something else.
    """
    value = _value(owner, key)
    if type(value) is int and abs(value) < 2**63:
        return str(value)
    if not isinstance(value, str):
        raise Reject("annotation-shape", f"{key!r} is not a string: {short(value)}")
    return usable_text(value, key, empty=empty)


def usable_text(value: str, key: str, *, empty: str) -> str:
    """The text without white space at its ends.

    Raises:
        Reject: nothing is left, or nothing that can be seen (marks of direction, spaces of no width).
    """
    stripped = value.strip()
    if not stripped or not (stripped.isprintable() or any(map(str.isprintable, stripped.replace(" ", "")))):
        raise Reject(empty, f"{key!r} is empty")
    return stripped


def size(owner: Mapping[str, Any]) -> tuple[int, int] | None:
    """The keys ``width`` and ``height`` in pixels; None where the annotation leaves both out.

    Raises:
        Reject: one is missing, or they are not positive whole numbers.
    """
    if owner.get("width") is None and owner.get("height") is None:
        return None
    return _pixels(owner, "width"), _pixels(owner, "height")


def stated_size(owner: Mapping[str, Any]) -> tuple[int, int] | None:
    """As :func:`size`; tools that do not know an image's size write 0 for both, which says nothing.

    Raises:
        Reject: as :func:`size`.
    """
    return None if owner.get("width") == 0 and owner.get("height") == 0 else size(owner)


def _pixels(owner: Mapping[str, Any], key: str) -> int:
    value = _value(owner, key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or value <= 0:
        raise Reject("annotation-shape", f"{key!r} is not a positive whole number of pixels: {short(value)}")
    return value


def _value(owner: Mapping[str, Any], key: str) -> Any:
    if key in owner:
        return owner[key]
    close = difflib.get_close_matches(key.casefold(), [str(name).casefold() for name in list(owner)[:100]], n=1)
    nearest = next((name for name in owner if close and name.casefold() == close[0]), None)
    hint = f"; is {nearest!r} meant to be it?" if nearest else f"; there are {short(sorted(owner))}"
    raise Reject("annotation-shape", f"the key {key!r} is missing{hint}")
