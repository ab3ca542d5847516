"""The first task of every run: hold the run.json against everything that can be known in seconds.

Nothing here imports torch, transformers or Great Expectations: it runs inside Airflow's own process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from airtune.catalog.checking import check, check_raw
from airtune.errors import AirtuneError, NotPermittedError, Problem, SettingsError
from airtune.resolution.architecture import choose
from airtune.resolution.places import (
    address_problems,
    base_model_type,
    dataset_problems,
    permission_problems,
)
from airtune.runspec.document import RunDocument
from airtune.runspec.json_text import check_plain, read_json
from airtune.runspec.reading import read_run
from airtune.runspec.status import fresh
from airtune.stores.opening import read_uri
from airtune.stores.permission import check_source
from airtune.stores.run_directory import RunDirectory

PARAM: Final = "run"


def load_run(
    run: Mapping[str, Any] | str, overrides: Mapping[str, Any] | None, run_id: str, root_uri: str
) -> RunDirectory:
    """Checks a run.json whole and makes its run directory; the same call again returns the same directory.

    Args:
        run: a run.json as an object, or the URI of one (``file://``, ``s3://``).
        overrides: settings that replace the run.json's, see :meth:`RunDocument.with_overrides`.
        run_id: the name of the run.
        root_uri: the store's root, as in ``AIRTUNE_STORE``.

    Raises:
        SettingsError: anything in the run.json, the overrides or their combination is wrong, the dataset or the base
            model does not exist, or ``run_id`` belongs to another run.json; every problem is named.
        NotPermittedError: the dataset or the base model lies where this installation does not read from, or the store
            refuses.
        StoreError: a store does not answer.
    """
    document = read_document(run, overrides)
    _check_places(document)
    begun = RunDocument.from_object(fresh(document.raw, run_id=run_id), where=document.where)
    return RunDirectory.create(root_uri, run_id, begun.to_json())


def read_document(run: Mapping[str, Any] | str, overrides: Mapping[str, Any] | None = None) -> RunDocument:
    """The run.json with its overrides, held against the schema and the catalog, but not against the world.

    Raises:
        SettingsError: every problem is named.
    """
    raw, where = _raw(run)
    reading = read_run(raw, where=where)
    problems = reading.problems + check_raw(raw, reading.blocks) if reading.problems else []
    if problems:
        raise SettingsError(problems)
    document = RunDocument.from_object(raw, where=where).with_overrides(overrides or {})
    problems = check(document)
    if problems:
        raise SettingsError(problems)
    return document


def _raw(run: object) -> tuple[Any, str]:
    if isinstance(run, Mapping):
        check_plain(dict(run), where=PARAM)
        return dict(run), PARAM
    if isinstance(run, str) and run.startswith(("file://", "s3://")):
        check_source(run, where=PARAM)
        return _read_quietly(read_uri(run), run), run
    raise SettingsError(
        Problem(
            PARAM,
            "is neither a run.json nor the URI of one",
            value=repr(run)[:120],
            allowed="an object, or file:///absolute/path or s3://bucket/key",
            fix="`airtune submit RUN.json` reads a file and sends its content" if isinstance(run, str) else None,
        )
    )


def _read_quietly(data: bytes, uri: str) -> Any:
    try:
        found = read_json(data, where=uri)
    except SettingsError as error:
        # The server can read files that the person who asks cannot: no line of a file that is no run.json is quoted.
        raise SettingsError(
            Problem(problem.where, problem.message, allowed=problem.allowed, fix=problem.fix)
            for problem in error.problems
        ) from None
    if not isinstance(found, dict):
        raise SettingsError(Problem(uri, "is no run.json: it is not a JSON object"))
    return found


def _check_places(document: RunDocument) -> None:
    problems = address_problems(document)
    if problems:
        raise SettingsError(problems)
    refused = permission_problems(document)
    if refused:
        raise NotPermittedError(refused)
    problems += dataset_problems(document)
    try:
        choose(document, base_model_type(document))
    except AirtuneError as error:
        if not isinstance(error, SettingsError):
            raise
        problems += error.problems
    if problems:
        raise SettingsError(problems)
