"""The records that a stage reads are those that the run was resolved on: neither others nor some of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airtune.datasets.fingerprint import fingerprint
from airtune.datasets.record import Record
from airtune.errors import DataError, Problem
from airtune.stores import layout


def check_sealed(records: Sequence[Record], sealed: Mapping[str, Any], *, validation_only: bool = False) -> None:
    """Hold records against the digests that were written down when the run was resolved.

    Args:
        records: of both splits, or those of validation.
        sealed: numbers of the dataset in ``resolution.json`` (``facts.data``), with ``fingerprint`` and
            ``evaluation_set_digest``. Runs that airtune 0.1.0 resolved have neither: nothing is held against them.
        validation_only: whether ``records`` are those of validation alone.

    Raises:
        DataError: they are other samples.
    """
    judging = evaluation_set_digest(records)
    problems = [_problem("the samples of validation", sealed.get("evaluation_set_digest"), judging)]
    if not validation_only:
        problems.append(
            _problem("the samples", sealed.get("fingerprint"), fingerprint(record.digest for record in records))
        )
    found = [problem for problem in problems if problem is not None]
    if found:
        raise DataError(found)


def evaluation_set_digest(records: Iterable[Record]) -> str:
    """sha256 (hex) of the samples that judge a model: equal for two runs that were judged on the same."""
    return fingerprint(record.digest for record in records if record.split == "validation")


def _problem(what: str, sealed: str | None, found: str) -> Problem | None:
    if sealed is None or sealed == found:
        return None
    return Problem(
        layout.RECORDS,
        f"{what} on record are not those that the run was resolved on",
        value=f"sha256 {found[:16]}…",
        allowed=f"sha256 {sealed[:16]}…",
        fix="the dataset was validated again since: start a new run, or run every stage from `airtune resolve` on",
    )
