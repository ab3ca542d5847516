"""Reading JSON strictly: what Python's reader lets through silently is a problem with a place here."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from airtune.errors import Problem, SettingsError

MAXIMUM_BYTES: Final = 4 * 1024 * 1024
MAXIMUM_DEPTH: Final = 64

_LONE_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def read_json(text: str | bytes, *, where: str) -> Any:
    """The value that a JSON text holds.

    Args:
        text: the text; bytes must be UTF-8 (a byte order mark is skipped).
        where: how to name the text in problems, usually the file's name.

    Raises:
        SettingsError: it is not JSON (with line and column), a key stands twice in one object, a number is
            NaN, infinite or absurdly long, or the text is too large or nested too deeply.
    """
    text = _decoded(text, where)
    twice = _Duplicates()
    try:
        value = json.loads(
            text, object_pairs_hook=twice.collect, parse_constant=_refuse_constant, parse_float=_finite_float
        )
    except json.JSONDecodeError as error:
        place = f"{where} line {error.lineno} column {error.colno}"
        raise SettingsError(
            Problem(place, f"is not JSON: {error.msg}", value=_line(text, error.pos), fix="mend the text at this place")
        ) from None
    except RecursionError:
        raise SettingsError(_too_deep(where)) from None
    except ValueError as error:
        raise SettingsError(Problem(where, f"holds a number that cannot be used: {error}")) from None
    check_plain(value, where=where)
    twice.check(value, where)
    return value


def check_plain(value: object, *, where: str) -> None:
    """Makes sure that an object consists of what JSON can say and a file can carry.

    Raises:
        SettingsError: it holds another type, a key that is no string, NaN or infinity, half a surrogate pair,
            or is nested deeper than 64 levels; every place is named.
    """
    problems: list[Problem] = []
    waiting: list[tuple[str, object, int]] = [("", value, 0)]
    while waiting:
        path, each, depth = waiting.pop()
        if depth >= MAXIMUM_DEPTH and isinstance(each, dict | list):
            raise SettingsError(_too_deep(path_text(path, where)))
        if type(each) is dict:
            for key, below in each.items():
                if type(key) is not str:
                    problems.append(
                        Problem(path_text(path, where), "has a key that is not a text", value=_short_repr(key))
                    )
                    continue
                if _LONE_SURROGATE.search(key):
                    problems.append(_half_pair(path_text(path, where), key))
                waiting.append((join(path, key), below, depth + 1))
        elif type(each) is list:
            waiting.extend((join(path, index), below, depth + 1) for index, below in enumerate(each))
        elif type(each) is str:
            if _LONE_SURROGATE.search(each):
                problems.append(_half_pair(path_text(path, where), each))
        elif type(each) is float:
            if not math.isfinite(each):
                problems.append(Problem(path_text(path, where), "is not a finite number", value=str(each)))
        elif type(each) is int:
            if each.bit_length() > 4096:
                problems.append(Problem(path_text(path, where), "is a number that is too long"))
        elif each is not None and type(each) is not bool:
            kind = type(each).__name__
            problems.append(Problem(path_text(path, where), f"is a Python {kind}, which JSON cannot say"))
    if problems:
        raise SettingsError(problems)


def write_json(value: Any) -> str:
    """The value as indented JSON, keys in their own order, with a final newline."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def json_text(value: object, limit: int = 120) -> str:
    """A value as a short JSON text, for messages."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=True)
    except (TypeError, ValueError, RecursionError):
        text = _short_repr(value)
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def join(path: str, part: str | int) -> str:
    """A JSON path one step longer: ``a.b``, ``a[0]``, ``a["odd key"]``."""
    if isinstance(part, int):
        return f"{path}[{part}]"
    if _PLAIN_NAME.fullmatch(part):
        return f"{path}.{part}" if path else part
    return f"{path}[{json_text(part, 60)}]"


def path_text(path: str, where: str) -> str:
    """The path, or the file's name for the whole document."""
    return path or where


class _Duplicates:
    """Notes objects in which a key stands twice; Python's reader would keep the last one and say nothing."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[dict[str, Any], list[str]]] = {}

    def collect(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            # The object is kept beside its id, so that no later object can get the same id.
            self._found[id(made)] = (made, sorted({name for name in names if names.count(name) > 1}))
        return made

    def check(self, value: object, where: str) -> None:
        if not self._found:
            return
        problems: list[Problem] = []
        waiting: list[tuple[str, object]] = [("", value)]
        while waiting:
            path, each = waiting.pop()
            if isinstance(each, dict):
                _, names = self._found.pop(id(each), (None, []))
                problems += [_stands_twice(path_text(join(path, name), where)) for name in names]
                waiting.extend((join(path, key), below) for key, below in each.items())
            elif isinstance(each, list):
                waiting.extend((join(path, index), below) for index, below in enumerate(each))
        # What is left stood inside a value that a second spelling of its own key replaced.
        problems += [_stands_twice(f"{where}: {name}") for _, names in self._found.values() for name in names]
        raise SettingsError(sorted(problems, key=lambda problem: problem.where))


def _decoded(text: str | bytes, where: str) -> str:
    if len(text) > MAXIMUM_BYTES:
        raise SettingsError(
            Problem(where, "is too large for a run.json", value=f"{len(text):,} bytes", allowed="at most 4 MiB")
        )
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise SettingsError(
                Problem(where, f"is not UTF-8 text: byte {error.start} does not fit", fix="save the file as UTF-8")
            ) from None
    return text.removeprefix("\ufeff")


def _stands_twice(path: str) -> Problem:
    return Problem(path, "stands twice in the same object", fix="keep one of the two")


def _too_deep(path: str) -> Problem:
    return Problem(path[:200], "is nested too deeply", allowed=f"at most {MAXIMUM_DEPTH} levels")


def _half_pair(path: str, text: str) -> Problem:
    return Problem(path, "holds half of a surrogate pair, which no UTF-8 file can carry", value=json_text(text, 60))


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large")
    return number


def _line(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line = text[start : end if end >= 0 else len(text)]
    offset = max(0, position - start - 30)
    return json_text(line[offset : offset + 60]) if line.strip() else "the end of the text"


def _short_repr(value: object) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= 100 else text[:97] + "..."
