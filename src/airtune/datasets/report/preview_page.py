"""The page of ``airtune data preview``: each sample's picture with its boxes, and the conversation that is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from airtune.datasets.preview import Preview, Seen
from airtune.datasets.report.pictures import BoxDrawn, Pictures, Thumbnail, boxes_on
from airtune.datasets.report.rendering import render
from airtune.datasets.report.wording import visible

_ROOM: Final = 20_000_000
"""Bytes that all pictures may take."""

_SIDE: Final = 480
_LONGEST_TEXT: Final = 20_000


@dataclass(frozen=True, slots=True)
class Card:
    """One sample as the page shows it; ``before`` is None where there is no chat template."""

    head: str
    pictures: tuple[Thumbnail, ...]
    boxes: tuple[BoxDrawn, ...]
    system: str
    prompt: str
    before: str | None
    label: str
    tokens: tuple[int, int] | None


def preview_page(found: Preview, model: str | None) -> str:
    """The page: one HTML file that loads nothing, runs no script, and shows every text of the data as text.

    Args:
        found: the samples.
        model: how the base model is called whose chat template was asked for, or None.
    """
    pictures = Pictures(found.images, _ROOM, _SIDE)
    return render(
        "preview.html.j2",
        ("report.css", "preview.css"),
        found=found,
        model=model,
        rendered=any(seen.before is not None for seen in found.samples),
        cards=[_card(seen, pictures) for seen in found.samples],
    )


def _card(seen: Seen, pictures: Pictures) -> Card:
    record = seen.record
    shown = pictures.of_record(record)
    names = ", ".join(record.images) or record.video or "no picture"
    place = f"{record.source_file}:{record.source_line}"
    return Card(
        head=visible(" · ".join(part for part in (seen.side, names, place) if part), 400),
        pictures=tuple(shown),
        boxes=boxes_on(shown[0], record.truth) if shown else (),
        system=visible(seen.system, _LONGEST_TEXT),
        prompt=visible(record.prompt, _LONGEST_TEXT),
        before=None if seen.before is None else visible(seen.before, _LONGEST_TEXT),
        label=visible(seen.label, _LONGEST_TEXT),
        tokens=seen.tokens,
    )
