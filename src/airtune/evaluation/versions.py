"""Which versions answered: what a score cannot be compared without."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Final

_PACKAGES: Final = ("airtune", "torch", "transformers", "peft", "accelerate", "bitsandbytes", "safetensors", "pillow")


def versions() -> dict[str, str]:
    """Version of Python and of each package that has a part in the answers and is installed here."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
