"""Finds the files of ``include/configs``: in a checkout, in an installed wheel, or where the platform says."""

from __future__ import annotations

from pathlib import Path

from airtune.environment import Environment
from airtune.errors import Problem, SettingsError


def configs_root() -> Path:
    """The folder that holds ``catalog/``, ``accelerate/``, ``expectations/``, ``kubernetes/`` and ``runs/``.

    Raises:
        SettingsError: no such folder exists.
    """
    package = Path(__file__).resolve().parent
    candidates = [
        Environment.read().configs,
        package / "_configs",  # the wheel carries a copy
        package.parent.parent / "include" / "configs",  # an editable install in a checkout
    ]
    for candidate in candidates:
        if candidate is not None and (candidate / "catalog").is_dir():
            return candidate
    raise SettingsError(
        Problem(
            "AIRTUNE_CONFIGS",
            "no folder with airtune's configuration files was found",
            value=str(candidates[0]) if candidates[0] else None,
            fix="set AIRTUNE_CONFIGS to a copy of include/configs",
        )
    )


def config_file(*parts: str) -> Path:
    """The path of one configuration file, for example ``config_file("accelerate", "single.yaml")``.

    Raises:
        SettingsError: the file does not exist.
    """
    path = configs_root().joinpath(*parts)
    if not path.is_file():
        raise SettingsError(Problem(str(path), "the configuration file does not exist"))
    return path
