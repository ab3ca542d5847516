"""The platform's rule about where datasets and base models may come from (``AIRTUNE_ALLOWED_SOURCES``)."""

from __future__ import annotations

import re
from typing import Final

from airtune.environment import Environment
from airtune.errors import NotPermittedError, Problem
from airtune.stores.opening import local_path

HUB_PREFIX: Final = "hf://"
"""How a rule names models of the Hugging Face hub: ``hf://`` all of them, ``hf://Qwen`` those of one organisation."""

_HUB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


def is_hub_id(source: str) -> bool:
    """Whether a source is an id of the Hugging Face hub, such as ``Qwen/Qwen3-VL-2B-Instruct``."""
    return _HUB_ID.fullmatch(source) is not None


def source_problem(source: str, *, where: str) -> Problem | None:
    """What the rule has against reading from somewhere; None when it allows it, or when there is no rule.

    Args:
        source: ``file://…``, ``s3://…``, or an id of the hub.
        where: how the problem names the setting.
    """
    allowed = Environment.read().allowed_sources
    if not allowed or any(_lies_in(source, prefix) for prefix in allowed):
        return None
    return Problem(
        where,
        "this installation does not read from there",
        value=source[:200],
        allowed=", ".join(allowed),
        fix="copy it there, or ask who runs this installation to extend AIRTUNE_ALLOWED_SOURCES",
    )


def check_source(source: str, *, where: str) -> None:
    """Refuses a source that the rule does not allow.

    Raises:
        NotPermittedError: it lies in none of the allowed places.
    """
    problem = source_problem(source, where=where)
    if problem is not None:
        raise NotPermittedError(problem)


def _lies_in(source: str, prefix: str) -> bool:
    if "://" not in source:
        source = f"{HUB_PREFIX}{source}"
    if source.startswith("file://") and prefix.startswith("file://"):
        here, there = local_path(source), local_path(prefix)
        # What symbolic links make of a path counts, not how it is spelt.
        return here is not None and there is not None and here.resolve().is_relative_to(there.resolve())
    root = prefix if prefix == HUB_PREFIX else prefix.rstrip("/")
    return source == root or source.startswith(root if root.endswith("/") else f"{root}/")
