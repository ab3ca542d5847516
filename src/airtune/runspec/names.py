"""Names of runs: ``[Task]-[Model size]-[Key settings]-v[N]``, for example ``VQA-7B-LoRA-NF4-v1``."""

from __future__ import annotations

import re
from typing import Final

from airtune.runspec.tasks import Task

_TASKS: Final = {
    Task.PHRASE_GROUNDING: "PhraseGrounding",
    Task.VQA: "VQA",
    Task.FREEFORM: "Freeform",
    Task.VIDEO_FREEFORM: "VideoFreeform",
    Task.GENERIC: "Generic",
}
_VERSIONED: Final = re.compile(r"(.*?)-v(\d{1,9})")


def suggested(task: Task, size: str, mode: str, four_bit: str | None) -> str:
    """The name that the platform's guide advises for a run, as version 1.

    Args:
        task: what is learnt.
        size: size of the model, for example ``7B``.
        mode: ``LoRA`` or ``SFT``.
        four_bit: ``NF4``, ``FP4``, or None without 4 bit.
    """
    parts = [_TASKS[task], re.sub(r"[^A-Za-z0-9._]+", "", size) or "model", mode, *([four_bit] if four_bit else [])]
    return f"{'-'.join(parts)}-v1"


def has_version(name: str) -> bool:
    """Whether a name ends in a version, as the guide advises."""
    return _VERSIONED.fullmatch(name) is not None


def next_version(name: str) -> str:
    """The name for the same run with a setting changed: ``x-v1`` becomes ``x-v2``, and ``x`` becomes ``x-v2``."""
    found = _VERSIONED.fullmatch(name)
    return f"{found[1]}-v{int(found[2]) + 1}" if found else f"{name}-v2"
