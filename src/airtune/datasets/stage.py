"""The stage ``validate``: from a dataset's URI to records, and a page that says what is in it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from airtune.datasets.check import DATA_DOCS, Asked, Checked, check
from airtune.datasets.comparison.earlier import drift_since_champion
from airtune.datasets.parts import take_parts
from airtune.datasets.pictures.image_table import write_images
from airtune.datasets.progress import Say, say
from airtune.datasets.sources.source import WHERE
from airtune.environment import Environment
from airtune.errors import DataError, Problem, SettingsError
from airtune.runspec.document import RunDocument
from airtune.runspec.prompts import prompts_for
from airtune.runspec.spec import RunSpec
from airtune.stores import layout
from airtune.stores.permission import is_hub_id
from airtune.stores.run_directory import RunDirectory

_PREFIX: Final = "validate-"
_GIVEN_UP_AFTER_S: Final = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What validation found, of a dataset that passed.

    Attributes:
        facts: see :func:`airtune.datasets.facts.facts_of`.
        warnings: what a person should look at.
        notes: what was done to the data.
    """

    facts: dict[str, Any]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        facts = self.facts
        return (
            f"{facts['samples']:,} samples on {facts['images']:,} images: {facts['train_samples']:,} to train, "
            f"{facts['validation_samples']:,} to validate, {facts['set_aside']:,} set aside"
        )


def validate(run: RunDirectory, *, tell: Say = say) -> ValidationResult:
    """Look at everything in the run's dataset and write what training reads.

    Writes ``dataset/`` (records.parquet, images.parquet, facts.json, fingerprint, set-aside.jsonl) and
    ``validation/`` (result.json, report.html; drift.json where the store has a champion's dataset). A dataset that is
    refused gets its report as well, but no records. Run twice on the same data, it writes the same.

    Args:
        run: the run; its run.json names the dataset.
        tell: where lines about the progress go.

    Raises:
        DataError: the dataset cannot be trained on; all problems at once.
        SettingsError: the run.json names no dataset, or one in a way that cannot be followed.
        NotPermittedError: the store or the platform forbids the dataset.
        StoreError: the store failed.
    """
    spec = RunDocument.from_object(run.read_json(layout.RUN_JSON)).spec
    base = spec.model.base_model
    asked = Asked(
        uri=_dataset_uri(spec),
        task=spec.task,
        format=spec.dataset.format,
        user_prompt=prompts_for(spec.task, spec.system_prompt).user,
        ratio=spec.dataset.split_ratio,
        base_model=None if base is None or is_hub_id(base) else base,
        minimum_images=spec.dataset.minimum_images,
        maximum_set_aside=spec.dataset.maximum_set_aside,
        expectations=spec.dataset.expectations,
        data_docs=spec.dataset.data_docs or False,
    )
    taken = take_parts(run, asked.uri)
    if taken:
        tell(f"{taken:,} images were looked at ahead")
    work = Environment.read().home / "work"
    work.mkdir(parents=True, exist_ok=True)
    _clear(work)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=work) as folder:
        checked = check(asked, Path(folder), tell)
        images = Path(folder, "images.parquet")
        write_images(images, checked.inspected)
        if checked.verdict.passed:
            tables = checked.assembly.records.path, images
            checked = checked.compared(*drift_since_champion(run, spec.name, checked.facts, tables))
        _write(run, spec, checked, images)
        _write_data_docs(run, Path(folder, DATA_DOCS))
    verdict = checked.verdict
    for warning in verdict.warnings:
        tell(f"warning: {warning}")
    for note in verdict.notes:
        tell(f"note: {note}")
    if not verdict.passed:
        raise DataError(verdict.problems)
    result = ValidationResult(checked.facts, verdict.warnings, verdict.notes)
    tell(str(result))
    return result


def _dataset_uri(spec: RunSpec) -> str:
    if spec.dataset.source is None:
        raise SettingsError(
            Problem(
                WHERE,
                "the run names no dataset",
                fix="name one there, or with --set dataset=URI",
            )
        )
    return spec.dataset.source.rstrip("/")


def _write(run: RunDirectory, spec: RunSpec, checked: Checked, images: Path) -> None:
    page = checked.page(spec.name)
    _take(run, layout.SET_ASIDE, checked.assembly.aside.path)
    run.write_text(layout.VALIDATION_REPORT, page)
    run.write_json(layout.VALIDATION_RESULT, checked.to_json())
    if checked.drift is not None:
        run.write_json(layout.VALIDATION_DRIFT, checked.drift.to_json())
    else:
        run.remove(layout.VALIDATION_DRIFT)
    if not checked.verdict.passed:
        # An earlier try may have passed on data that has changed since: nobody may train on what it left.
        for name in (layout.RECORDS, layout.IMAGES, layout.FACTS, layout.FINGERPRINT):
            run.remove(name)
        return
    _take(run, layout.RECORDS, checked.assembly.records.path)
    _take(run, layout.IMAGES, images)
    run.write_json(layout.FACTS, checked.facts)
    run.write_text(layout.FINGERPRINT, f"{checked.facts['fingerprint']}\n")


def _write_data_docs(run: RunDirectory, folder: Path) -> None:
    """Puts Great Expectations' pages into the run directory, where there are any; those of an earlier try go."""
    run.remove(layout.DATA_DOCS)
    if folder.is_dir():
        shutil.copytree(folder, run.path(layout.DATA_DOCS))
        run.push(layout.DATA_DOCS)


def _clear(work: Path) -> None:
    """Remove what a validation left that was killed: no other one takes so long."""
    for left in work.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # it has just ended by itself
            if left.stat().st_mtime < time.time() - _GIVEN_UP_AFTER_S:
                shutil.rmtree(left)


def _take(run: RunDirectory, name: str, file: Path) -> None:
    """Put a file of any size into the run directory, complete or not at all."""
    place = run.path(name)
    arriving = place.with_name(f".{place.name}.arriving")
    try:
        shutil.copyfile(file, arriving)
        arriving.replace(place)
    finally:
        arriving.unlink(missing_ok=True)
    run.push(name)
