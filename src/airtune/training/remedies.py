"""When memory runs out: smaller pieces of the same effective batch, in a fixed order, on record."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from airtune.runspec.resolved import ResolvedRun
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory
from airtune.training import ranks
from airtune.training.batching import Batching
from airtune.training.out_of_memory import too_large


class Remedies:
    """How the run's batches are cut up now, and what has led there: ``training/batching.json``.

    The record has ``asked`` and ``used`` (see :meth:`airtune.training.batching.Batching.to_json`), ``devices``,
    ``remedies`` (each with ``when``, ``said``, ``instead_of`` and ``now``) and ``probe`` (what was tried before the
    loop). Another try of the same run begins with what was found, so that it resumes as it was trained.

    Args:
        directory: the run directory.
        run: the resolved run.
        longest: tokens of the longest sample.
        say: where lines go.
        devices: how many devices train; a record made on another number of them does not count.
        row_tokens: tokens that a packed row may have at the beginning.
    """

    def __init__(
        self,
        directory: RunDirectory,
        run: ResolvedRun,
        *,
        longest: int,
        say: Callable[[str], None],
        devices: int = 1,
        row_tokens: int | None = None,
    ) -> None:
        self._directory = directory
        self._run = run
        self._longest = longest
        self._say = say
        self.batching = Batching.of(run, row_tokens, devices=devices)
        self._record: dict[str, Any] = {
            "asked": self.batching.to_json(),
            "used": self.batching.to_json(),
            "devices": devices,
            "remedies": [],
            "probe": None,
        }
        before = _read(directory)
        if before is not None and (before["asked"], before["devices"]) == (self._record["asked"], devices):
            self._record = before
            self.batching = Batching(**before["used"])
            if before["remedies"]:
                say(f"an earlier try ran out of memory: this one begins with {self.batching}")

    @property
    def taken(self) -> list[dict[str, Any]]:
        """What was done, in order."""
        return list(self._record["remedies"])

    def take(self, when: str, said: str, row: int, *, alone: bool = False) -> Batching:
        """The next smaller batching, on record and said.

        Args:
            when: when memory ran out: ``before step 1`` (in the probe, as a rule), or ``step 12``.
            said: what the allocator said.
            row: tokens of the pass that did not fit.
            alone: whether of several processes only this one knows of it.

        Raises:
            GpuMemoryError: nothing is left to try.
        """
        smaller = self.batching.smaller(row=row, longest=self._longest)
        if smaller is None:
            tried = [each["now"] for each in self._record["remedies"]]
            raise too_large(self._run, said, "; ".join(tried) or str(self.batching))
        self._record["remedies"].append(
            {"when": when, "said": said, "instead_of": str(self.batching), "now": str(smaller)}
        )
        self._say(f"out of memory ({when}): {smaller} instead of {self.batching}; the effective batch stays")
        self.batching = smaller
        self._record["used"] = smaller.to_json()
        if alone and not ranks.is_main():
            self._directory.write_json(layout.TRAINING_BATCHING, self._record)
        self._write()
        return smaller

    def probed(self, found: dict[str, Any]) -> None:
        """Notes what the probe has found."""
        self._record["probe"] = found
        self._write()

    def _write(self) -> None:
        if ranks.is_main():
            self._directory.write_json_here(layout.TRAINING_BATCHING, self._record)


def _read(directory: RunDirectory) -> dict[str, Any] | None:
    path = directory.path(layout.TRAINING_BATCHING)  # fetched, or not pushed yet
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
