"""Which expectations a run's records are held to: the suite of its task, and the run's own.

A suite is Great Expectations' own JSON: ``{"name": ..., "expectations": [{"type", "kwargs", "severity",
"description"}]}``. The default ones are in ``include/configs/expectations``, one a task. A run may bring another file
(``airtune.expectations`` in its dataset block), which is laid over the default: an expectation with the type, the
columns and the kinds of limits (the keys of ``kwargs``) of a default one takes its place, any other is added. With
``"meta": {"replaces_default": true}`` the file stands alone.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from airtune.configs import config_file
from airtune.datasets.expectations.table import COLUMNS
from airtune.errors import Problem, SettingsError
from airtune.runspec.tasks import Task
from airtune.stores.base import MissingError
from airtune.stores.opening import read_uri
from airtune.stores.permission import check_source

WHERE: Final = "spec.flow.blocks[dataset].settings.airtune.expectations"
"""Where a run.json names its own suite."""

SEVERITIES: Final = ("critical", "warning", "info")
"""What a failure means: the run fails, it is reported, or it is only recorded."""

_SHAPE: Final = '{"name": ..., "expectations": [{"type": ..., "kwargs": {...}, "severity": ..., "description": ...}]}'
_COLUMN_KEYS: Final = ("column", "column_A", "column_B")
_OF_ALL_COLUMNS: Final = "expect_table_column"
_WORD: Final = re.compile(r"\w+")
_LARGEST: Final = 1_000_000
_DEEPEST: Final = 20


@dataclass(frozen=True, slots=True)
class Stated:
    """One expectation as its file states it.

    Attributes:
        where: the file and the place in it, for messages.
        config: its object.
    """

    where: str
    config: dict[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        """Two expectations with the same key cannot both be meant: type, columns and kinds of limits."""
        kwargs = self.config["kwargs"]
        columns = {name: kwargs[name] for name in (*_COLUMN_KEYS, "column_list") if name in kwargs}
        return self.config["type"], json.dumps([columns, sorted(kwargs)], sort_keys=True)

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the table that it speaks of, also those in its ``row_condition``."""
        if self.config["type"].startswith(_OF_ALL_COLUMNS):
            return frozenset(COLUMNS)
        words = (word for text in _texts(self.config["kwargs"]) for word in _WORD.findall(text))
        return frozenset(word for word in words if word in COLUMNS)


@dataclass(frozen=True, slots=True)
class Suite:
    """The expectations of a run.

    Attributes:
        name: of the task.
        expectations: in the order in which they are reported.
        files: URI and sha256 (hex) of each file that they come from.
    """

    name: str
    expectations: tuple[Stated, ...]
    files: tuple[tuple[str, str], ...]

    @property
    def columns(self) -> frozenset[str]:
        """All columns that they speak of."""
        return frozenset(column for stated in self.expectations for column in stated.columns)


def suite_for(task: Task, own: str | None = None) -> Suite:
    """The suite that a run is held to.

    Args:
        task: of the run.
        own: URI of the run's own suite, ``file:///…`` or ``s3://…``; None for the task's default alone.

    Raises:
        SettingsError: a file is missing, is no suite, or speaks of columns or severities that there are not.
        NotPermittedError: the platform does not allow files from there.
    """
    path = config_file("expectations", f"{task.value}.json")
    default, _ = _stated(path.read_bytes(), str(path))
    files = [(path.as_uri(), _digest(path.read_bytes()))]
    if own is None:
        return Suite(task.value, tuple(default), tuple(files))
    data = _read(own)
    added, alone = _stated(data, own)
    mine = (own, _digest(data))
    if alone:
        return Suite(task.value, tuple(added), (mine,))
    return Suite(task.value, tuple(_laid_over(default, added)), (*files, mine))


def _laid_over(default: Iterable[Stated], own: Iterable[Stated]) -> Iterator[Stated]:
    mine = {stated.key: stated for stated in own}
    for stated in default:
        yield mine.pop(stated.key, stated)
    yield from mine.values()


def _read(uri: str) -> bytes:
    check_source(uri, where=WHERE)
    try:
        data = read_uri(uri)
    except (MissingError, OSError) as error:
        raise SettingsError(
            Problem(WHERE, "there is no such file", value=uri[:200], fix="name a suite as file:///… or s3://…")
        ) from error
    if len(data) > _LARGEST:
        raise SettingsError(Problem(WHERE, f"has {len(data):,} bytes: not a suite of expectations", value=uri[:200]))
    return data


def _stated(data: bytes, where: str) -> tuple[list[Stated], bool]:
    """The expectations of a file, and whether it says that it stands alone."""
    try:
        suite = json.loads(data)
        json.dumps(suite, ensure_ascii=False).encode()  # half a character could not be written down later on
        stated, alone = suite["expectations"], suite.get("meta", {}).get("replaces_default", False)
        if not isinstance(stated, list) or not isinstance(alone, bool):
            raise TypeError("'expectations' is not a list, or 'replaces_default' neither true nor false")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(Problem(where, f"not a suite of expectations: {_words(error)}", allowed=_SHAPE)) from error
    found, problems = [], []
    for index, item in enumerate(stated):
        place = f"{where}: expectations[{index}]"
        problem = _problem(item, place)
        if problem is not None:
            problems.append(problem)
        else:
            found.append(Stated(place, {"severity": "critical", **item}))
    if problems:
        raise SettingsError(problems)
    return found, alone


def _words(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)[:200]


def _problem(item: object, place: str) -> Problem | None:
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        return Problem(place, "has no 'type'", allowed=_SHAPE)
    kwargs = item.get("kwargs")
    if not isinstance(kwargs, dict):
        return Problem(place, "has no object 'kwargs'", value=repr(item["type"])[:100], allowed=_SHAPE)
    if item.get("severity", "critical") not in SEVERITIES:
        return Problem(place, "no such severity", value=repr(item["severity"])[:100], allowed=" or ".join(SEVERITIES))
    names = [kwargs[key] for key in _COLUMN_KEYS if key in kwargs]
    listed = kwargs.get("column_list", [])
    names += listed if isinstance(listed, list) else [listed]
    for name in names:
        if not isinstance(name, str) or name not in COLUMNS:
            near = difflib.get_close_matches(str(name), COLUMNS, n=1)
            return Problem(
                place,
                "the table has no such column",
                value=repr(name)[:100],
                allowed=", ".join(COLUMNS),
                fix=f"is {near[0]!r} meant?" if near else None,
            )
    return None


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list) and depth < _DEEPEST:
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner, depth + 1)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
