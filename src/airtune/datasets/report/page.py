"""``validation/report.html``: the verdict first, then what was set aside and why, then what the data looks like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from airtune.datasets.aside import ROWS_KEPT
from airtune.datasets.assembly import Assembly
from airtune.datasets.comparison.drift import Drift
from airtune.datasets.expectations.holding import Check
from airtune.datasets.pictures.images import Images
from airtune.datasets.pictures.inspection import ImageFacts, Inspected
from airtune.datasets.report.copies import copies
from airtune.datasets.report.distributions import look
from airtune.datasets.report.drift_page import picture_of
from airtune.datasets.report.gallery import cards, reasons
from airtune.datasets.report.pictures import Pictures
from airtune.datasets.report.rendering import render
from airtune.datasets.report.wording import visible
from airtune.datasets.verdict import CHANGES, Verdict

LARGEST: Final = 4_500_000
"""Bytes that the page may take, whatever the dataset holds."""

_ROOM: Final = {"aside": 1_500_000, "copies": 1_200_000, "samples": 900_000}
"""Bytes that the pictures of each part may take."""

_TRIES: Final = ((ROWS_KEPT, 1.0), (6, 0.5), (2, 0.0))
"""Rows of each reason, and the share of the pictures' room, until the page is small enough."""

_MOST_LINES: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Everything that the page shows.

    Attributes:
        title: of the run, or of the dataset.
        verdict: what the checks amount to.
        assembly: the samples.
        inspected: what became of every image.
        near: groups of digests of images that are nearly the same.
        facts: see :func:`airtune.datasets.facts.facts_of`.
        checks: how the expectations went.
        images: where thumbnails come from.
        drift: how it differs from an earlier dataset, or None.
        count: tokens of a text by the base model's own tokenizer; None counts characters.
    """

    title: str
    verdict: Verdict
    assembly: Assembly
    inspected: Inspected
    near: Sequence[Sequence[str]]
    facts: Mapping[str, Any]
    checks: Sequence[Check]
    images: Images
    drift: Drift | None = None
    count: Callable[[str], int] | None = None


def report(shown: Shown) -> str:
    """The page: one HTML file that loads nothing, runs no script, and shows every text of the data as text."""
    records = shown.assembly.records
    by_digest = {facts.digest: facts for facts in shown.inspected.values() if isinstance(facts, ImageFacts)}
    seen = look(records, by_digest, shown.count)
    page = ""
    for rows, share in _TRIES:
        room = {part: round(size * share) for part, size in _ROOM.items()}
        page = render(
            "report.html.j2",
            ("report.css", "drift.css"),
            title=visible(shown.title, 200),
            passed=shown.verdict.passed,
            problems=_first(shown.verdict.problems),
            warnings=_first(shown.verdict.warnings),
            notes=_first(shown.verdict.notes),
            facts=shown.facts,
            conversions=[(count, CHANGES.get(name, name)) for name, count in shown.facts["image_changes"].items()],
            checks=shown.checks,
            reasons=reasons(shown.assembly.aside, Pictures(shown.images, room["aside"]), rows),
            copies=copies(shown.inspected, shown.near, records, Pictures(shown.images, room["copies"])),
            drift=shown.drift,
            moved=[picture_of(each) for each in shown.drift.drifted] if shown.drift else [],
            look=seen,
            cards=cards(records, Pictures(shown.images, room["samples"])),
        )
        if len(page.encode()) <= LARGEST:
            break
    return page


def _first(lines: Sequence[Any]) -> dict[str, Any]:
    """The first of many lines, and how many more there are."""
    return {"shown": list(lines[:_MOST_LINES]), "more": max(0, len(lines) - _MOST_LINES)}
