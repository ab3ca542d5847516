"""Lines of JSON, each with its line number, whatever state the file is in."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from airtune.datasets.draft import Reject, writable_value

_ESCAPED_SURROGATE: Final = re.compile(rb"\\u(?:[dD][89a-fA-F]|00[01789])")
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_FIRST_LINE: Final = re.compile(rb"\s*([^\n]*)")
_DEEPEST: Final = 64
WHOLE_FILE: Final = 64 * 1024 * 1024
"""Bytes up to which a file may be one document."""


def json_lines(content: bytes, first: int = 1, *, lines_only: bool = False) -> Iterator[tuple[int, Any]]:
    """The values of a JSON Lines file, in order.

    A file that is one JSON document instead is taken as well: a list as its elements, an object as the only line.

    Args:
        content: the file, or some of its lines.
        first: the number of its first line.
        lines_only: some lines of a file that is no document.

    Yields:
        The line number, counted from 1, and the value, or a :class:`Reject` where the line cannot be read. Blank
        lines are passed over.
    """
    if first == 1:
        if content.startswith(_UTF_16):
            yield 1, Reject("annotation-malformed", "the file is UTF-16, not UTF-8")
            return
        content = content.removeprefix(codecs.BOM_UTF8)
    if not lines_only and not begins_with_line(content):
        whole = _parsed(content) if len(content) <= WHOLE_FILE else None
        if isinstance(whole, list):
            yield from enumerate(whole, start=1)
            return
        if isinstance(whole, dict):
            yield 1, whole
            return
    for number, line in enumerate(content.split(b"\n"), start=first):
        if line and not line.isspace():
            yield number, _parsed(line)


def begins_with_line(content: bytes) -> bool:
    """Whether the first line with anything on it is a value of its own, and no list: the file is one of lines."""
    found = _FIRST_LINE.match(content)
    line = found.group(1) if found else b""
    return not line.startswith(b"[") and not isinstance(_parsed(line), Reject)


def _parsed(line: bytes) -> Any:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        value = _slowly_parsed(line)
    if isinstance(value, Reject):
        return value
    if line.count(b"{") + line.count(b"[") > _DEEPEST and _deeper_than(value, _DEEPEST):
        return Reject("annotation-malformed", f"nested deeper than {_DEEPEST} levels")
    # Only an escape can bring in half a surrogate pair or a control character; nearly no line has one.
    return writable_value(value) if b"\\u" in line and _ESCAPED_SURROGATE.search(line) else value


def _slowly_parsed(line: bytes) -> Any:
    """The value where it is JSON after all (half a surrogate pair in an escape), else a :class:`Reject` in words."""
    try:
        return json.loads(line.decode("utf-8"), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        return Reject("annotation-malformed", f"not UTF-8: byte {error.start + 1} of the line")
    except json.JSONDecodeError as error:
        return Reject("annotation-malformed", f"malformed JSON at column {error.colno}: {error.msg}")
    except RecursionError:
        return Reject("annotation-malformed", "nested too deeply")
    except ValueError as error:
        return Reject("annotation-malformed", str(error)[:200])


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _deeper_than(value: Any, limit: int) -> bool:
    layer, depth = [value], 0
    while layer:
        if depth > limit:
            return True
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        depth += 1
    return False
