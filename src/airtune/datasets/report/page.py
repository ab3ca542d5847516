"""``validation/report.html``: the verdict first, then what was set aside and why, then what the data looks like."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from airtune.datasets.assembly import Assembly
from airtune.datasets.expectations import Check
from airtune.datasets.images import Images
from airtune.datasets.report.charts import box_places, distributions
from airtune.datasets.report.gallery import cards, reasons
from airtune.datasets.verdict import Verdict


def report(
    *,
    title: str,
    verdict: Verdict,
    assembly: Assembly,
    facts: Mapping[str, Any],
    checks: Sequence[Check],
    images: Images,
) -> str:
    """The page: one HTML file that loads nothing, runs no script, and shows every text of the data as text.

    Args:
        title: of the run.
        verdict: what the checks amount to.
        assembly: the samples.
        facts: see :func:`airtune.datasets.facts.facts_of`.
        checks: how the expectations went.
        images: where thumbnails come from.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("airtune.datasets.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = environment.get_template("report.css").render()
    return environment.get_template("report.html.j2").render(
        title=title,
        style=style,
        style_hash=f"sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}",
        verdict=verdict,
        facts=facts,
        checks=checks,
        reasons=reasons(assembly.aside, images),
        cards=cards(assembly.records, images),
        distributions=distributions(assembly.records),
        heat_map=box_places(assembly.records),
    )
