"""The stage ``evaluate``: the base and the trained model answer the validation split, and the answers are scored.

It reads ``resolution.json``, ``dataset/``, ``training/`` and the trained weights, and writes
``evaluation/predictions.jsonl`` (while it runs), ``evaluation/metrics.json`` and ``evaluation/report.html``. Run
again it generates nothing that is there already, and writes the same files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from airtune.answering.decoding import Decoding, greedy, sampled
from airtune.answering.scoring import PRIMARY, summarise
from airtune.datasets.pictures.images import Images
from airtune.datasets.record import Record, read_records
from airtune.datasets.splitting.sealing import check_sealed, evaluation_set_digest
from airtune.errors import DataError, Problem
from airtune.evaluation.changes import changes
from airtune.evaluation.contestants import Contestants
from airtune.evaluation.predictions import Model, Prediction, PredictionFile, row_key
from airtune.evaluation.report.gallery import gather
from airtune.evaluation.report.page import ReportInput, render_report
from airtune.evaluation.versions import versions
from airtune.modeling.base_model import fetch_base_model
from airtune.runspec.resolved import Resolution, ResolvedRun
from airtune.stores import layout
from airtune.stores.base import MissingError
from airtune.stores.run_directory import RunDirectory

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Pass:
    """One model decoding in one way over all samples; the unit in which the work is counted."""

    model: Model
    decoding: Decoding


@dataclass(frozen=True)
class Evaluation:
    """What is to be evaluated, everything in place.

    Attributes:
        run: the run directory.
        resolution: its settings.
        records: the samples of the validation split.
        facts: what validation found out about the dataset.
        contestants: where the weights are.
        fingerprints: of each contestant.
        passes: who answers how.
    """

    run: RunDirectory
    resolution: Resolution
    records: Sequence[Record]
    facts: Mapping[str, Any]
    contestants: Contestants
    fingerprints: Mapping[Model, str]
    passes: tuple[Pass, ...]

    @property
    def resolved(self) -> ResolvedRun:
        """The settings that run."""
        return self.resolution.run

    def key(self, answering: Pass, record: Record) -> str:
        """The key of a row, see :func:`airtune.evaluation.predictions.row_key`."""
        conversation = {"system_prompt": self.resolved.system_prompt, "decoding": answering.decoding.to_json()}
        return row_key(record.id, record.digest, self.fingerprints[answering.model], conversation)


def prepare(run: RunDirectory) -> Evaluation:
    """Brings everything to this machine and looks at it, before a model is loaded.

    Raises:
        MissingError: a stage before this one has not run.
        DataError: there are no validation samples, or others than the run was resolved on.
        SettingsError: the trained weights are missing.
    """
    resolution = Resolution.from_json(run.store.read(layout.RESOLUTION))
    resolved = resolution.run
    if not run.exists(layout.TRAINING_RESULT):
        raise MissingError(
            Problem(f"{run.uri}/{layout.TRAINING_RESULT}", "the run has not been trained to its end",
                    fix="run `airtune train` first")
        )  # fmt: skip
    is_adapter = resolved.training_mode == "LoRA"
    weights = layout.MODEL_ADAPTER if is_adapter else layout.MODEL_FULL
    run.fetch(layout.DATASET, layout.TRAINING, layout.EVALUATION, weights)
    records = read_records(run.path(layout.RECORDS), "validation")
    if not records:
        raise DataError(Problem(layout.RECORDS, "has no validation sample, so there is nothing to score the model on"))
    check_sealed(records, resolution.facts.get("data", {}), validation_only=True)
    folder = run.path(weights)
    contestants = Contestants(
        base=fetch_base_model(resolved.base_model),
        adapter=folder if is_adapter else None,
        full=None if is_adapter else folder,
    )
    draws = sampled(resolved.sampling, run.run_id)
    passes = [Pass("base", greedy(resolved.sampling)), Pass("tuned", greedy(resolved.sampling))]
    if draws is not None:
        passes.append(Pass("tuned", draws))
    fingerprints: dict[Model, str] = {model: contestants.fingerprint(model, resolved) for model in ("base", "tuned")}
    return Evaluation(run, resolution, records, run.read_json(layout.FACTS), contestants, fingerprints, tuple(passes))


def evaluate(run: RunDirectory) -> dict[str, Any]:
    """Runs the stage.

    Returns:
        The content of ``evaluation/metrics.json``: ``task``, ``samples``, ``evaluation_set_digest``, ``primary`` (the
        metric that decides), ``decoding``, ``base`` and ``tuned`` (per decoding the scores of
        :func:`airtune.answering.scoring.summarise`), ``changes``, ``fingerprints`` and ``versions``.

    Raises:
        AirtuneError: see :func:`prepare` and :mod:`airtune.answering.answerer`.
    """
    evaluation = prepare(run)
    wanted = [evaluation.key(answering, record) for answering in evaluation.passes for record in evaluation.records]
    answers = PredictionFile(run.path(layout.PREDICTIONS), wanted)
    generated = bool(answers.missing)
    if generated:
        from airtune.evaluation.generating import generate_missing  # torch and transformers, only when needed

        generate_missing(evaluation, answers)
    rows = answers.finish()
    run.push(layout.PREDICTIONS)
    metrics = _metrics(evaluation, rows)
    if not generated and run.exists(layout.METRICS):  # the versions are those that generated the answers
        metrics["versions"] = run.read_json(layout.METRICS).get("versions", metrics["versions"])
    run.write_json(layout.METRICS, metrics)
    run.write_text(layout.EVALUATION_REPORT, _report(evaluation, metrics, rows))
    return metrics


def _metrics(evaluation: Evaluation, rows: Sequence[Prediction]) -> dict[str, Any]:
    task = evaluation.resolved.task
    scores: dict[str, dict[str, Any]] = {"base": {}, "tuned": {}}
    for answering in evaluation.passes:
        model, decoding = answering.model, answering.decoding.name
        scores[model][decoding] = summarise(
            task, [row for row in rows if (row.model, row.decoding) == (model, decoding)]
        )
    return {
        "schema": SCHEMA,
        "task": task.value,
        "samples": len(evaluation.records),
        "evaluation_set_digest": evaluation_set_digest(evaluation.records),
        "primary": PRIMARY[task],
        "decoding": {answering.decoding.name: answering.decoding.to_json() for answering in evaluation.passes},
        **scores,
        "changes": changes(task, [(sample.tuned, sample.base) for sample in gather(task, rows)]),
        "fingerprints": dict(evaluation.fingerprints),
        "versions": versions(),
    }


def _report(evaluation: Evaluation, metrics: Mapping[str, Any], rows: Sequence[Prediction]) -> str:
    run = evaluation.run
    images = Images(evaluation.facts["root_uri"])
    digests = {
        (record.id, key): digest
        for record in evaluation.records
        for key, digest in zip(record.images, record.image_digests, strict=True)
    }
    return render_report(
        ReportInput(
            run_id=run.run_id,
            resolution=evaluation.resolution,
            metrics=metrics,
            predictions=rows,
            load=lambda sample, key: images.load(key, digests.get((sample, key))),
            training=_json_lines(run.path(layout.TRAINING_METRICS)),
            evaluations=_json_lines(run.path(layout.TRAINING_EVALUATIONS)),
            facts=evaluation.facts,
            training_result=run.read_json(layout.TRAINING_RESULT),
        )
    )


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one JSON object a line; a missing file or a torn line is passed over."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found
