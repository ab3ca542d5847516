"""Foreign text made safe to look at."""

from __future__ import annotations

import re
from typing import Final

# Characters that a browser would obey and not show: controls, marks that turn the direction of writing, invisible ones.
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028\u2029\u202a-\u202e"
    "\u2060-\u2064\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: object, longest: int) -> str:
    """A text as it may stand in a page: invisible characters as ``⟨U+202E⟩``, no longer than ``longest``."""
    whole = str(text)
    shown = _INVISIBLE.sub(lambda match: f"⟨U+{ord(match.group()):04X}⟩", whole[:longest])
    return shown if len(whole) <= longest else f"{shown}…"
