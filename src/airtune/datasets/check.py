"""The whole look at a dataset: read, images looked at, assembled, counted, held against expectations and thresholds."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from airtune.datasets.annotations.control_tokens import ControlTokens, tokens_of_model
from airtune.datasets.assembly import Assembly, assemble
from airtune.datasets.comparison.drift import Drift
from airtune.datasets.crew import Crew
from airtune.datasets.expectations.holding import Check, Expectations
from airtune.datasets.expectations.suites import suite_for
from airtune.datasets.expectations.table import record_fields
from airtune.datasets.facts import facts_of
from airtune.datasets.findings import WORTH_SPREADING, look_over
from airtune.datasets.pictures.duplicates import near_duplicates_of
from airtune.datasets.pictures.images import Images
from airtune.datasets.pictures.inspection import ImageFacts, Inspected, inspect
from airtune.datasets.progress import Meter, Say
from airtune.datasets.readers.formats import Reader, reader_for
from airtune.datasets.reading import is_large, read_samples
from airtune.datasets.report.page import Shown, report
from airtune.datasets.sources.source import Source
from airtune.datasets.splitting.leakage import Leaks, leaks_of
from airtune.datasets.spool import Spool
from airtune.datasets.verdict import Verdict, empty_dataset, judge
from airtune.errors import AirtuneError
from airtune.modeling.text_files import TextFiles
from airtune.runspec.tasks import Task

DATA_DOCS: Final = "data-docs"
"""The folder of Great Expectations' own pages, below the one that is given to :func:`check`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be looked at, and by which measure.

    Attributes:
        uri: the dataset's root.
        task: what it is for.
        format: of the annotations; None or ``auto`` looks for itself.
        user_prompt: the user's text for samples that bring none; None leaves it empty.
        ratio: the share of images for validation where the dataset brings no split; None takes the default.
        base_model: URI of the model that is to be trained, whose control tokens are escaped too; None: those of the
            catalog's models alone.
        minimum_images: fewer are refused; None takes the default.
        maximum_set_aside: a larger share of samples set aside is refused; None takes the default.
        expectations: URI of a suite that is laid over the task's own; None: that one alone.
        data_docs: whether Great Expectations' own pages are written, too.
    """

    uri: str
    task: Task
    format: str | None = None
    user_prompt: str | None = None
    ratio: float | None = None
    base_model: str | None = None
    minimum_images: int | None = None
    maximum_set_aside: float | None = None
    expectations: str | None = None
    data_docs: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found; its files lie in the folder that was given to :func:`check`.

    Attributes:
        assembly: the samples, used and set aside.
        inspected: what became of every image.
        near: groups of images (by digest) that are nearly the same.
        leaks: what is in training and in validation.
        facts: see :func:`airtune.datasets.facts.facts_of`.
        suites: URI and sha256 of each file with expectations.
        checks: how they went; none where there is no sample.
        verdict: what it amounts to.
        images: where the images are.
        base_model: URI of the model that is to be trained, or None.
        drift: how it differs from the champion's dataset; None where there is none to compare with.
    """

    assembly: Assembly
    inspected: Inspected
    near: Sequence[Sequence[str]]
    leaks: Leaks
    facts: dict[str, Any]
    suites: Sequence[tuple[str, str]]
    checks: Sequence[Check]
    verdict: Verdict
    images: Images
    base_model: str | None = None
    drift: Drift | None = None

    def compared(self, drift: Drift | None, why_not: str | None) -> Checked:
        """The same, with what a comparison has shown: what drifted much is a warning, the rest a note.

        Args:
            drift: how it differs from an earlier dataset; None where it was not compared.
            why_not: why there was no comparison, if that is worth a note.
        """
        warnings, notes = list(self.verdict.warnings), list(self.verdict.notes)
        if drift is not None:
            notes.append(drift.words)
            for each in drift.drifted:
                (warnings if each.level == "much" else notes).append(f"since {drift.before.name}, {each.words}")
        elif why_not is not None:
            notes.append(why_not)
        verdict = dataclasses.replace(self.verdict, warnings=tuple(warnings), notes=tuple(notes))
        return dataclasses.replace(self, drift=drift, verdict=verdict)

    def page(self, title: str) -> str:
        """The report as one HTML page."""
        return report(
            Shown(
                title=title,
                verdict=self.verdict,
                assembly=self.assembly,
                inspected=self.inspected,
                near=self.near,
                facts=self.facts,
                checks=self.checks,
                images=self.images,
                drift=self.drift,
                count=_counter(self.base_model),
            )
        )

    def to_json(self) -> dict[str, Any]:
        """``validation/result.json``."""
        verdict = self.verdict
        return {
            "passed": verdict.passed,
            "problems": [problem.to_json() for problem in verdict.problems],
            "warnings": list(verdict.warnings),
            "notes": list(verdict.notes),
            "samples": self.facts["samples"],
            "set_aside": self.facts["set_aside"],
            "set_aside_by_reason": self.facts["set_aside_by_reason"],
            "leaks": self.leaks.to_json(),
            "suites": [{"uri": uri, "sha256": digest} for uri, digest in self.suites],
            "checks": [found.to_json() for found in self.checks],
        }


def check(asked: Asked, folder: Path, tell: Say) -> Checked:
    """Look at a dataset.

    Args:
        asked: which, and by which measure.
        folder: an empty folder for what is found (records.parquet, set-aside.jsonl, :data:`DATA_DOCS`) and for work in
            between.
        tell: where lines about the progress go.

    Raises:
        DataError: there is no dataset, or none in a format that airtune reads. One that is merely bad is no error:
            see :attr:`Checked.verdict`.
        SettingsError: the dataset is named in a way that cannot be followed, or a suite cannot be used.
        NotPermittedError: the store or the platform forbids the dataset.
        StoreError: the store failed.
    """
    suite = suite_for(asked.task, asked.expectations)
    tell(f"dataset {asked.uri}")
    source = Source.open(asked.uri)
    name, reader = reader_for(source, asked.format)
    files = reader.images()
    (folder / "spool").mkdir()
    spool = Spool(folder / "spool", files)
    images = Images(asked.uri)
    with Crew() as crew, ThreadPoolExecutor(1) as beside:
        # Great Expectations takes seconds to import: time that this process has while others read.
        built = beside.submit(Expectations, suite)
        if not is_large(source):
            built.result()
        read_samples(source, reader, asked.task, spool, crew, Meter("samples read", tell))
        expectations = built.result()
        tell(f"format {name}: {len(source.keys):,} files, {spool.samples:,} samples")
        meter = Meter("videos looked at" if spool.videos else "images looked at", tell)
        inspected = inspect(images, spool.images, meter, videos=spool.videos, crew=crew)
        found = [image for image in inspected.values() if isinstance(image, ImageFacts)]
        near = near_duplicates_of(found)
        assembly = assemble(
            spool,
            inspected,
            task=asked.task,
            user_prompt=asked.user_prompt,
            ratio=asked.ratio,
            near=near,
            controls=ControlTokens(tokens_of_model(asked.base_model) if asked.base_model is not None else ()),
            folder=folder,
            crew=crew,
        )
        shutil.rmtree(folder / "spool")
        finding = crew.begin(look_over, (assembly.records, asked.task), spread=len(assembly.records) >= WORTH_SPREADING)
        crew.thin()
        nothing = empty_dataset(assembly, len(files), uri=asked.uri, task=asked.task)
        checks: list[Check] = []
        if nothing is None:
            checks = expectations.check(
                assembly.records.batches(record_fields(expectations.suite.columns)),
                {image.digest: image for image in found},
                near,
                data_docs=folder / DATA_DOCS if asked.data_docs else None,
            )
        findings = finding()
    leaks = leaks_of(assembly.records, findings.counts.images, near)
    facts = facts_of(
        assembly, inspected, findings.counts, root_uri=asked.uri, dataset_format=name, task=asked.task.value
    )
    notes = [*source.notes(), *_notes(reader, spool), *leaks.warnings, *findings.warnings]
    if nothing is not None:
        verdict = Verdict((nothing,), tuple(notes), ())
    else:
        verdict = judge(
            assembly,
            facts,
            checks,
            notes,
            minimum_images=asked.minimum_images,
            maximum_set_aside=asked.maximum_set_aside,
        )
    return Checked(
        assembly, inspected, near, leaks, facts, expectations.suite.files, checks, verdict, images, asked.base_model
    )


def _counter(base_model: str | None) -> Callable[[str], int] | None:
    """Counts tokens for the page; what keeps it from doing so is said where the base model is needed."""
    try:
        return TextFiles.read(base_model).count if base_model is not None else None
    except AirtuneError:
        return None


def _notes(reader: Reader, spool: Spool) -> list[str]:
    notes = list(reader.notes())
    if spool.lone:
        lone = sorted(spool.lone)
        some = ", ".join(lone[:3]) + (" …" if len(lone) > 3 else "")
        notes.append(f"{len(lone)} images have no annotation and are left out: {some}")
    return notes
