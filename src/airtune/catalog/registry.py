"""The catalog as a whole: reading its files, and finding an entry by key, display name or model type."""

from __future__ import annotations

import difflib
import re
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from airtune.catalog.entry import CatalogEntry
from airtune.configs import configs_root
from airtune.errors import Problem, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airtune.runspec.resolved import ResolvedRun


def load_catalog() -> Mapping[str, CatalogEntry]:
    """All entries by key, from ``include/configs/catalog/*.yaml``; read once per folder and process.

    Raises:
        SettingsError: a file is malformed, or two entries claim the same name.
    """
    return _load(configs_root() / "catalog")


def find(name: str) -> CatalogEntry | None:
    """The entry of a key or display name (capitals, spaces, dots, dashes and underscores do not matter), or None."""
    return _by_name(configs_root() / "catalog").get(simplified(name))


def entry(name: str, *, where: str = "architecture.name") -> CatalogEntry:
    """The entry of a key or display name.

    Raises:
        SettingsError: there is none; the nearest one is named.
    """
    found = find(name)
    if found is None:
        raise SettingsError(unknown_architecture(name, where))
    return found


def entry_of(run: ResolvedRun) -> CatalogEntry:
    """The entry of a resolved run: the catalog's, or the one that was derived for it and stands in its resolution."""
    if run.derived_entry is not None:
        return CatalogEntry.model_validate(run.derived_entry)
    return entry(run.architecture)


def entry_for_model_type(model_type: str, *, hint: str | None = None) -> CatalogEntry | None:
    """The entry that trains a base model of this ``model_type``, or None.

    Args:
        model_type: from the base model's config.json.
        hint: a key; several architectures share a model type (qwen25vl and cosmosreason1), and the hint wins.
    """
    catalog = load_catalog()
    if hint is not None and hint in catalog and model_type in catalog[hint].model_types:
        return catalog[hint]
    return next((each for each in catalog.values() if model_type in each.model_types), None)


def known_model_types() -> tuple[str, ...]:
    """Every model type that some entry trains, sorted."""
    return tuple(sorted({model_type for each in load_catalog().values() for model_type in each.model_types}))


def unknown_architecture(name: str, where: str) -> Problem:
    """The problem to report for a name that is in no entry."""
    catalog = load_catalog()
    names = [name for each in catalog.values() for name in (each.key, *each.display_names)]
    close = difflib.get_close_matches(name.lower(), [known.lower() for known in names], n=1, cutoff=0.5)
    nearest = next((known for known in names if close and known.lower() == close[0]), None)
    return Problem(
        where,
        "is no architecture of the catalog",
        value=repr(name),
        allowed=", ".join(sorted(catalog)),
        fix=f"did you mean {nearest!r}?" if nearest else None,
    )


def simplified(name: str) -> str:
    """A name without capitals, spaces, dots, dashes and underscores, for comparing spellings."""
    return re.sub(r"[\s._-]+", "", name).lower()


@cache
def _load(folder: Path) -> Mapping[str, CatalogEntry]:
    problems: list[Problem] = []
    entries: dict[str, CatalogEntry] = {}
    # Qwen2.5-VL stands before Cosmos-Reason1 wherever a model type has to choose: the files' order is the preference.
    for path in sorted(folder.glob("*.yaml"), key=lambda path: (path.stem.startswith("cosmos"), path.stem)):
        try:
            loaded = CatalogEntry.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            problems += [
                Problem(f"{path}: {'.'.join(map(str, fault['loc']))}", fault["msg"])
                for fault in error.errors(include_url=False)
            ]
            continue
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            problems.append(Problem(str(path), f"is not a YAML file: {error}"))
            continue
        if loaded.key != path.stem:
            problems.append(Problem(str(path), "the key differs from the file's name", value=loaded.key))
        if not loaded.sizes:
            problems.append(Problem(f"{path}: sizes", "an entry of the catalog has at least one published size"))
        entries[loaded.key] = loaded
    if problems:
        raise SettingsError(problems)
    return MappingProxyType(entries)


@cache
def _by_name(folder: Path) -> Mapping[str, CatalogEntry]:
    names: dict[str, CatalogEntry] = {}
    for each in _load(folder).values():
        for name in (each.key, *each.display_names):
            other = names.setdefault(simplified(name), each)
            if other is not each:
                raise SettingsError(
                    Problem(str(folder / f"{each.key}.yaml"), f"the name {name!r} also belongs to {other.key}")
                )
    return MappingProxyType(names)
