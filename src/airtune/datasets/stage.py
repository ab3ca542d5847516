"""The stage ``validate``: from a dataset's URI to records, and a page that says what is in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from airtune.datasets.assembly import Assembly, assemble
from airtune.datasets.control_tokens import ControlTokens, tokens_of_model
from airtune.datasets.draft import Draft, Outcome, set_aside_lines
from airtune.datasets.expectations import Check, run_expectations
from airtune.datasets.facts import facts_of
from airtune.datasets.image_table import write_images
from airtune.datasets.images import Images
from airtune.datasets.inspection import Inspected, inspect
from airtune.datasets.progress import Meter, Say, say
from airtune.datasets.readers.formats import reader_for
from airtune.datasets.record import write_records
from airtune.datasets.repeats import repeat_warnings
from airtune.datasets.report.page import report
from airtune.datasets.source import WHERE, Source
from airtune.datasets.verdict import Verdict, empty_dataset, judge
from airtune.errors import DataError, Problem, SettingsError
from airtune.runspec.document import RunDocument
from airtune.runspec.prompts import prompts_for
from airtune.runspec.spec import RunSpec
from airtune.stores import layout
from airtune.stores.permission import is_hub_id
from airtune.stores.run_directory import RunDirectory


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
    ``validation/`` (result.json, report.html). A dataset that is refused gets its report as well, but no records. Run
    twice on the same data, it writes the same.

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
    uri = _dataset_uri(spec)
    tell(f"dataset {uri}")
    source = Source.open(uri)
    dataset_format, reader = reader_for(source, spec.dataset.format)
    outcomes = _read(reader.read(spec.task), tell)
    tell(f"format {dataset_format}: {len(source.keys):,} files, {len(outcomes):,} samples")
    images = Images(uri)
    keys = {key for outcome in outcomes if isinstance(outcome, Draft) for key in outcome.images}
    videos = {outcome.video for outcome in outcomes if isinstance(outcome, Draft) and outcome.video is not None}
    inspected = inspect(images, keys, Meter("videos looked at" if videos else "images looked at", tell), videos=videos)
    assembly = assemble(
        outcomes,
        inspected,
        task=spec.task,
        user_prompt=prompts_for(spec.task, spec.system_prompt).user,
        ratio=spec.dataset.split_ratio,
        controls=_controls(spec),
    )
    facts = facts_of(assembly, inspected, root_uri=uri, dataset_format=dataset_format, task=spec.task.value)
    notes = [
        *reader.notes(),
        *_without_annotation(reader.images(), outcomes),
        *repeat_warnings(assembly.records, spec.task),
    ]
    nothing = empty_dataset(assembly, len(reader.images()), uri=uri, task=spec.task)
    checks: list[Check] = []
    if nothing is not None:
        verdict = Verdict((nothing,), tuple(notes), ())
    else:
        checks = run_expectations(assembly.records, assembly.replaced, spec.task)
        verdict = judge(
            assembly,
            facts,
            checks,
            notes,
            minimum_images=spec.dataset.minimum_images,
            maximum_set_aside=spec.dataset.maximum_set_aside,
        )
    _write(run, spec, assembly, facts, checks, verdict, images, inspected)
    for warning in verdict.warnings:
        tell(f"warning: {warning}")
    for note in verdict.notes:
        tell(f"note: {note}")
    if not verdict.passed:
        raise DataError(verdict.problems)
    result = ValidationResult(facts, verdict.warnings, verdict.notes)
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


def _controls(spec: RunSpec) -> ControlTokens:
    base = spec.model.base_model
    return ControlTokens(tokens_of_model(base) if base is not None and not is_hub_id(base) else ())


def _read(outcomes: Iterable[Outcome], tell: Say) -> list[Outcome]:
    meter = Meter("samples read", tell)
    found: list[Outcome] = []
    for outcome in outcomes:
        found.append(outcome)
        meter(len(found))
    return found


def _without_annotation(images: Iterable[str], outcomes: Iterable[Outcome]) -> list[str]:
    named = {key for outcome in outcomes for key in outcome.images}
    lone = sorted(set(images) - named)
    if not lone:
        return []
    some = ", ".join(lone[:3]) + (" …" if len(lone) > 3 else "")
    return [f"{len(lone)} images have no annotation and are left out: {some}"]


def _write(
    run: RunDirectory,
    spec: RunSpec,
    assembly: Assembly,
    facts: dict[str, Any],
    checks: list[Check],
    verdict: Verdict,
    images: Images,
    inspected: Inspected,
) -> None:
    result = {
        "passed": verdict.passed,
        "problems": [problem.to_json() for problem in verdict.problems],
        "warnings": list(verdict.warnings),
        "notes": list(verdict.notes),
        "samples": facts["samples"],
        "set_aside": facts["set_aside"],
        "set_aside_by_reason": facts["set_aside_by_reason"],
        "checks": [check.to_json() for check in checks],
    }
    page = report(title=spec.name, verdict=verdict, assembly=assembly, facts=facts, checks=checks, images=images)
    run.write_bytes(layout.SET_ASIDE, set_aside_lines(assembly.set_aside))
    run.write_text(layout.VALIDATION_REPORT, page)
    run.write_json(layout.VALIDATION_RESULT, result)
    if not verdict.passed:
        # An earlier try may have passed on data that has changed since: nobody may train on what it left.
        for name in (layout.RECORDS, layout.IMAGES, layout.FACTS, layout.FINGERPRINT):
            run.remove(name)
        return
    write_records(run.path(layout.RECORDS), assembly.records)
    run.push(layout.RECORDS)
    write_images(run.path(layout.IMAGES), inspected)
    run.push(layout.IMAGES)
    run.write_json(layout.FACTS, facts)
    run.write_text(layout.FINGERPRINT, f"{facts['fingerprint']}\n")
