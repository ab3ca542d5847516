"""Keeping the record: each setting's value, who decided it, and why."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from airtune.runspec.resolved import Entry, Source

Value = TypeVar("Value")

ASKED: Final = "set in the run.json or by an override"


class Ledger:
    """Collects the entries of a resolution in the order in which they are decided."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def default(self, path: str, asked: Value | None, value: Value, reason: str) -> Value:
        """What was asked for, else airtune's fixed default."""
        return self._decide(path, asked, value, "default", reason)

    def auto(self, path: str, asked: Value | None, decided: tuple[Value, str]) -> Value:
        """What was asked for, else what a table says for this data, model and device."""
        return self._decide(path, asked, decided[0], "auto", decided[1])

    def note(self, path: str, value: Any, source: Source, reason: str) -> None:
        """Puts a decision on record that was made elsewhere."""
        self.entries.append(Entry(path=path, value=value, source=source, reason=f"{reason}."))

    def values(self) -> dict[str, Any]:
        """The settings by their short paths."""
        return {entry.path: entry.value for entry in self.entries}

    def _decide(self, path: str, asked: Value | None, value: Value, source: Source, reason: str) -> Value:
        if asked is not None:
            self.note(path, asked, "user", ASKED)
            return asked
        self.note(path, value, source, reason)
        return value
