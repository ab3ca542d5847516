"""airtune with a means of speed left out: by what an installation can be told, not by another program."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes:
        packed: whether samples share the row of what they begin with in common.
        kept: whether vision features are kept over the epochs.
    """

    packed: bool = True
    kept: bool = True

    def __str__(self) -> str:
        return f"{'packed' if self.packed else 'padded'}, feature cache {'on' if self.kept else 'off'}"

    def environment(self, home: Path) -> dict[str, str]:
        """The variables that make it so; a copy of the configuration is written below ``home`` where one is needed."""
        from airtune.configs import configs_root

        found = {} if self.kept else {"AIRTUNE_FEATURE_CACHE_GB": "0"}
        if self.packed:
            return found
        copy = home / "configs"
        shutil.copytree(configs_root(), copy, ignore=shutil.ignore_patterns("demo"))
        for path in (copy / "catalog").glob("*.yaml"):
            text = re.sub(r"(?m)^packing:.*\n", "", path.read_text(encoding="utf-8"))
            path.write_text(f"{text}packing: false\n", encoding="utf-8")
        return found | {"AIRTUNE_CONFIGS": str(copy)}


VARIANTS: Final = tuple(Variant(packed, kept) for packed in (True, False) for kept in (True, False))
