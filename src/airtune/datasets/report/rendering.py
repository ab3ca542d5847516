"""How the pages of this room are put together: one file each, that loads nothing and runs nothing."""

from __future__ import annotations

import base64
import functools
import hashlib
from typing import TYPE_CHECKING, Any, Final

from airtune.datasets.report.wording import visible

if TYPE_CHECKING:
    import jinja2

_LONGEST_LINE: Final = 700


def render(template: str, styles: tuple[str, ...], /, **shown: Any) -> str:
    """A page, every text in it escaped.

    Args:
        template: its name.
        styles: names of the style sheets that it is given, allowed by their hash.
        shown: what the template speaks of.
    """
    environment = _environment()
    style = "".join(environment.get_template(name).render() for name in styles)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template(template).render(style=style, style_hash=f"sha256-{digest}", **shown)


@functools.cache
def _environment() -> jinja2.Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("airtune.datasets.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["line"] = lambda text: visible(text, _LONGEST_LINE)
    return environment
