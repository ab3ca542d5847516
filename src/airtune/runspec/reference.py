"""The reference of all settings as a Markdown table, for ``docs/run-json.md``.

``python -m airtune.runspec.reference docs/run-json.md`` writes it between the file's two markers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from airtune.runspec.faults import allowed_text
from airtune.runspec.overrides import all_overrides
from airtune.runspec.settings import all_settings

BEGIN: Final = "<!-- settings: made by `python -m airtune.runspec.reference docs/run-json.md` -->"
END: Final = "<!-- end of settings -->"

_TITLES: Final = {
    None: "The flow",
    "dataset": "Block `dataset`: what is learnt from",
    "system-prompt": "Block `system-prompt` (optional)",
    "model": "Block `model`: what is trained, and how",
}


def settings_reference() -> str:
    """One table a block: key, values, meaning and default, and the name for ``--set``."""
    return "\n".join(_lines())


def with_reference(page: str) -> str:
    """The page with the tables between its markers.

    Raises:
        ValueError: the page has no markers.
    """
    head, _, rest = page.partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        raise ValueError(f"the page has no lines {BEGIN!r} and {END!r}")
    return f"{head}{BEGIN}\n\n{settings_reference()}\n\n{END}{tail}"


def _lines() -> Iterator[str]:
    names = {path: override.name for override in all_overrides().values() for path in override.paths}
    block: str | None = ""
    for path, setting in all_settings().items():
        if setting.block != block:
            if block != "":
                yield ""
            block = setting.block
            yield f"### {_TITLES[block]}"
            yield ""
            yield "| key | values | meaning | `--set` |"
            yield "|---|---|---|---|"
        key = f"`{'.'.join(setting.keys)}`" + (f" (`{setting.snake_case}`)" if setting.snake_case else "")
        name = f"`{names[path]}`" if path in names else ""
        yield f"| {key} | {_cell(allowed_text(setting.schema) or '')} | {_cell(setting.description)} | {name} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(with_reference(target.read_text(encoding="utf-8")), encoding="utf-8")
