"""Where a run's dataset, base model and features lie: addresses for a server, and whether anything is there."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from airtune.errors import Problem, SettingsError
from airtune.resolution.base_model import read_model_type
from airtune.runspec.document import RunDocument
from airtune.stores.base import MissingError
from airtune.stores.opening import local_path, open_store
from airtune.stores.permission import is_hub_id, source_problem

DATASET = "dataset.airtune.source"
BASE_MODEL = "model.airtune.baseModel"
FEATURE_CACHE = "model.airtune.featureCache"

_FOLDERS = "file:///absolute/path or s3://bucket/prefix"


def address_problems(document: RunDocument) -> list[Problem]:
    """What is wrong with a run's addresses, without looking whether anything is there; empty when nothing is."""
    problems: list[Problem] = []
    source, base = document.spec.dataset.source, document.spec.model.base_model
    features = document.spec.model.feature_cache
    if source is None:
        problems.append(
            Problem(
                document.path(DATASET),
                "is missing: the run.json does not say where the dataset lies",
                allowed=_FOLDERS,
                fix="add it to the object airtune of the dataset block, or give --set dataset=URI",
            )
        )
    else:
        problems += _uri_problems(source, document.path(DATASET), _FOLDERS)
    if base is not None and not is_hub_id(base):
        allowed = "file:///absolute/path, s3://bucket/prefix or an id of the Hugging Face hub (organisation/model)"
        problems += _uri_problems(base, document.path(BASE_MODEL), allowed)
    if features is not None:
        problems += _uri_problems(features, document.path(FEATURE_CACHE), _FOLDERS)
    return problems


def permission_problems(document: RunDocument) -> list[Problem]:
    """Addresses that this installation does not read from; empty when all are allowed."""
    model = document.spec.model
    places = {
        DATASET: document.spec.dataset.source,
        BASE_MODEL: model.base_model,
        FEATURE_CACHE: model.feature_cache,
    }
    found = (source_problem(place, where=document.path(path)) for path, place in places.items() if place)
    return [problem for problem in found if problem is not None]


def dataset_problems(document: RunDocument) -> list[Problem]:
    """Whether there is a dataset's folder with something in it; empty when there is.

    Raises:
        StoreError: the store does not answer.
        NotPermittedError: it refuses.
    """
    uri, where = document.spec.dataset.source, document.path(DATASET)
    if uri is None:
        return []
    path = local_path(uri)
    if path is not None and not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "does not exist"
        return [Problem(where, f"the dataset {what}", value=uri, fix=_nearest(path))]
    try:
        if next(iter(open_store(uri).list()), None) is None:
            what = "is an empty folder" if path is not None else "does not exist: nothing lies below this URI"
            return [Problem(where, f"the dataset {what}", value=uri, fix="check the address")]
    except MissingError:
        return [Problem(where, "the dataset does not exist", value=uri, fix="check the address")]
    except SettingsError as error:
        return [_placed(problem, where, uri) for problem in error.problems]
    return []


def base_model_type(document: RunDocument) -> str | None:
    """The base model's ``model_type``, where that can be told in a moment; None for a model of the hub.

    Raises:
        SettingsError: there is no model.
        StoreError: the store does not answer.
        NotPermittedError: it refuses.
    """
    source = document.spec.model.base_model
    if source is None or is_hub_id(source):
        return None
    return read_model_type(source, where=document.path(BASE_MODEL))


def _uri_problems(source: str, where: str, allowed: str) -> Iterator[Problem]:
    if not source.startswith(("file://", "s3://")):
        what = "has a scheme that airtune does not know" if "://" in source else "is a plain path, not a URI"
        fix = None if "://" in source else "write file:// and the absolute path; `airtune submit` does that by itself"
        yield Problem(where, what, value=repr(source), allowed=allowed, fix=fix)
        return
    try:
        open_store(source)
    except SettingsError as error:
        for problem in error.problems:
            yield _placed(problem, where, source)


def _placed(problem: Problem, where: str, uri: str) -> Problem:
    """The same problem under the setting's name: a person looks for the setting, not for what opened it."""
    value = problem.value if problem.value == uri else uri
    return Problem(where, problem.message, value=value, allowed=problem.allowed, fix=problem.fix)


def _nearest(path: Path) -> str | None:
    try:
        names = [each.name for each in islice(path.parent.iterdir(), 1000)]
    except OSError:
        return "check the address: the folder above does not exist either"
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {(path.parent / close[0]).as_uri()}?" if close else "check the address"
