"""A run.json: the raw JSON kept whole, and a typed view beside it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from airtune.errors import Problem, SettingsError
from airtune.runspec import overrides
from airtune.runspec.edits import edited, json_path
from airtune.runspec.json_text import check_plain, read_json, write_json
from airtune.runspec.reading import BlockName, read_run
from airtune.runspec.settings import all_settings
from airtune.runspec.spec import RunSpec
from airtune.runspec.status import Conditions, with_status


@dataclass(frozen=True, eq=False)
class RunDocument:
    """An immutable run.json; every change makes a new one.

    Attributes:
        spec: the typed view: settings by their Python names, None where airtune is to fill them in.
        notes: what is odd but allowed, such as a key that nothing reads, each in a sentence.
        where: how problems name the document.
        blocks: the place of each block in ``spec.flow.blocks``.
    """

    spec: RunSpec
    notes: tuple[str, ...]
    where: str
    blocks: Mapping[BlockName, int]
    _raw: dict[str, Any]

    @classmethod
    def parse(cls, text: str | bytes, *, where: str = "run.json") -> Self:
        """The run.json that a text holds.

        Args:
            text: JSON; bytes must be UTF-8.
            where: how problems name the document, usually the file's name.

        Raises:
            SettingsError: it is not JSON, or not a run.json; every problem is named with its JSON path.
        """
        return cls._read(read_json(text, where=where), where)

    @classmethod
    def from_object(cls, obj: object, *, where: str = "run.json") -> Self:
        """The run.json that is a parsed JSON value already.

        Raises:
            SettingsError: it is not what JSON can say, or not a run.json; every problem is named.
        """
        check_plain(obj, where=where)
        return cls._read(copy.deepcopy(obj), where)

    @classmethod
    def _read(cls, raw: Any, where: str) -> Self:
        reading = read_run(raw, where=where)
        if reading.spec is None:
            raise SettingsError(reading.problems)
        return cls(reading.spec, tuple(reading.notes), where, dict(reading.blocks), raw)

    @property
    def raw(self) -> dict[str, Any]:
        """The whole JSON object as it was read, unknown keys and number types included; a copy."""
        return copy.deepcopy(self._raw)

    def path(self, setting: str) -> str:
        """The JSON path of a setting in this document.

        Args:
            setting: its short path, for example ``model.hyperparameters.epochs``.
        """
        return json_path(all_settings()[setting], self.blocks)

    def with_overrides(self, given: Mapping[str, Any]) -> Self:
        """The document with some settings replaced.

        Args:
            given: name or short path -> JSON value; a value of None is passed over. See
                :data:`airtune.runspec.overrides.OVERRIDES` for the names.

        Raises:
            SettingsError: a name is unknown, or the run.json would not be valid with a value.
        """
        values, names = overrides.resolved(given)
        check_plain(values, where="overrides")
        if not values:
            return self
        raw = edited(self._raw, self.blocks, values, both_spellings=False)
        reading = read_run(raw, where=self.where)
        if reading.spec is None:
            origin = {json_path(all_settings()[path], reading.blocks): name for path, name in names.items()}
            raise SettingsError(_from_override(problem, origin.get(problem.where)) for problem in reading.problems)
        return type(self)(reading.spec, tuple(reading.notes), self.where, dict(reading.blocks), raw)

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """The document with concrete values written in; the settings of ``evaluation`` in both spellings.

        Args:
            values: short path -> JSON value; a missing block is added.

        Raises:
            SettingsError: the run.json would not be valid with a value.
        """
        return self._read(edited(self._raw, self.blocks, values, both_spellings=True), self.where)

    def with_status(self, *, at_ms: int, conditions: Conditions = (), log: str | None = None) -> Self:
        """The document with its status moved on, see :func:`airtune.runspec.status.with_status`."""
        return self._read(with_status(self._raw, at_ms=at_ms, conditions=conditions, log=log), self.where)

    def to_json(self) -> str:
        """The text: indented JSON, keys in the order in which they were read."""
        return write_json(self._raw)


def _from_override(problem: Problem, name: str | None) -> Problem:
    if name is None:
        return problem
    return Problem(
        problem.where, f"{problem.message} (from the override {name})", problem.value, problem.allowed, problem.fix
    )
