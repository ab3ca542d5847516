"""The stage ``airtune resolve``: writes ``resolution.json`` and the resolved run.json."""

from __future__ import annotations

from typing import Any, Final

from airtune.catalog import registry
from airtune.datasets.record import Record, read_records
from airtune.environment import Environment
from airtune.errors import Problem, SettingsError, StoreError
from airtune.resolution.architecture import choose
from airtune.resolution.base_model import read_base_model, read_published
from airtune.resolution.data_facts import DataFacts
from airtune.resolution.device import Device, find_device
from airtune.resolution.picture_sizes import picture_sizes
from airtune.resolution.resolver import Surroundings, resolve_settings
from airtune.resolution.too_long import refuse
from airtune.resolution.verdict import DENY
from airtune.runspec.document import RunDocument
from airtune.runspec.resolved import Resolution
from airtune.stores import layout
from airtune.stores.permission import check_source, is_hub_id
from airtune.stores.run_directory import RunDirectory

_FIRST_WORK: Final = (layout.TRAINING, layout.CHECKPOINTS, layout.MODEL_FULL, layout.MODEL_ADAPTER)


def resolve(run: RunDirectory) -> Resolution:
    """Decides every setting that the run.json leaves open, and puts it on record.

    A run whose training has begun keeps its resolution: a second try must go on with the same settings, even on a
    machine with another GPU.

    Args:
        run: a run whose dataset was validated.

    Returns:
        What ``resolution.json`` now holds.

    Raises:
        SettingsError: the base model does not exist or is of a type that nothing trains, or does not allow what was
            asked; ``airtune validate`` has not run; or the run fits the GPU with no setting that training may change by
            itself (``resolution.json`` is written all the same, and ``airtune.ignoreEstimate`` lets it pass).
        DataError: samples are longer than the model can take, and the run has no lower limit that sets them aside; or
            that limit leaves none to train.
        NotPermittedError: the base model lies where this installation does not read from.
        StoreError: the store or the hub does not answer.
    """
    if run.exists(layout.RESOLUTION) and _has_begun(run):
        return Resolution.from_json(run.store.read(layout.RESOLUTION))
    document = _asked(run)
    resolution = foresee(run)
    run.write_text(layout.RESOLUTION, resolution.to_json())
    run.update(layout.RUN_JSON, lambda before: _resolved(before, document, resolution))
    run.fetch(layout.RUN_JSON)
    refuse(resolution.estimate["too_long"])
    _refuse(document, resolution)
    return resolution


def foresee(run: RunDirectory, device: Device | None = None, *, hub_needed: bool = True) -> Resolution:
    """What :func:`resolve` would decide, without writing it down.

    Args:
        run: a run whose dataset was validated.
        device: the GPU; None: the one that is found.
        hub_needed: whether a hub that does not answer is an error; False: the published dimensions will do.

    Raises:
        SettingsError: as :func:`resolve`, but whether the run fits stands in the estimate alone.
        NotPermittedError: as :func:`resolve`.
        StoreError: as :func:`resolve`.
    """
    if not run.exists(layout.FACTS):
        raise SettingsError(
            Problem(
                f"{run.uri}/{layout.FACTS}", "the dataset was not validated yet", fix="run `airtune validate` first"
            )
        )
    document = _asked(run)
    where = document.path("model.airtune.baseModel")
    source = base_model_of(document)
    check_source(source, where=where)
    try:
        base = read_base_model(source, where=where)
    except StoreError:
        if hub_needed or not is_hub_id(source):
            raise
        base = read_published(source)
    around = Surroundings(
        data=DataFacts.from_json(run.read_json(layout.FACTS)),
        base=base,
        device=device or find_device(),
        architecture=choose(document, base.model_type, base),
        records=_records(run),
        sizes=picture_sizes(run),
        devices=max(1, Environment.read().gpus or 1),
    )
    return resolve_settings(document, around)


def base_model_of(document: RunDocument) -> str:
    """The run's base model: its own, else the catalog's for architecture and size.

    Raises:
        SettingsError: it names none, and the catalog has none of this size.
    """
    spec = document.spec.model
    if spec.base_model is not None:
        return spec.base_model
    entry = registry.entry(spec.architecture_name, where=document.path("model.architecture.name"))
    size = entry.size(spec.architecture_size)
    if size is None:
        raise SettingsError(
            Problem(
                document.path("model.architecture.size"),
                f"is no size of {entry.display_name}",
                value=repr(spec.architecture_size),
                allowed=", ".join(entry.sizes),
                fix="or give a base model (airtune.baseModel)",
            )
        )
    return size.hub


def _asked(run: RunDirectory) -> RunDocument:
    # Not run.json: that holds the values of an earlier resolution, which nobody asked for.
    asked = layout.REQUEST if run.exists(layout.REQUEST) else layout.RUN_JSON
    return RunDocument.parse(run.store.read(asked), where=asked)


def _records(run: RunDirectory) -> tuple[Record, ...] | None:
    if not run.exists(layout.RECORDS):
        return None
    run.fetch(layout.RECORDS)
    return tuple(read_records(run.path(layout.RECORDS)))


def _refuse(document: RunDocument, resolution: Resolution) -> None:
    """Stops a run that its GPU cannot hold before that GPU is taken."""
    verdict = resolution.estimate["verdict"]
    if verdict is None or verdict["verdict"] != DENY or document.spec.model.ignore_estimate:
        return
    raise SettingsError(
        Problem(
            "GPU memory",
            f"this run does not fit: {verdict['reason']}",
            value=f"{verdict['needed_gb']:.1f} GB",
            allowed=f"<= {verdict['memory_gb']:g} GB",
            fix=f"cheapest: {verdict['change_in_words']}; or set airtune.ignoreEstimate to true to try all the same",
        )
    )


def _has_begun(run: RunDirectory) -> bool:
    return any(next(iter(run.store.list(name)), None) is not None for name in _FIRST_WORK)


def _resolved(before: bytes | None, asked: RunDocument, resolution: Resolution) -> bytes:
    document = RunDocument.parse(before, where=layout.RUN_JSON) if before is not None else asked
    return document.with_values(_written(asked, resolution)).to_json().encode()


def _written(asked: RunDocument, resolution: Resolution) -> dict[str, Any]:
    """The values for run.json: all but those that have no concrete form, and the switch that the platform lacks."""
    return {
        entry.path: entry.value
        for entry in resolution.entries
        if entry.value is not None
        and (entry.path != "model.evaluation.doSample" or asked.spec.model.evaluation.do_sample is not None)
    }
