"""Puts the report together: one HTML file, self-contained, that shows foreign text as text."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final

import jinja2
from markupsafe import Markup
from PIL import Image

from airtune.evaluation.predictions import Prediction
from airtune.evaluation.report.charts import Chart, Curve, chart
from airtune.evaluation.report.gallery import Card, Gallery, build_gallery
from airtune.evaluation.report.wording import (
    METRIC_NAMES,
    advice,
    difference_text,
    percent,
    score_text,
    verdict,
    visible,
)
from airtune.runspec.resolved import Resolution
from airtune.runspec.tasks import Task

LARGEST: Final = 4_500_000
"""Bytes that the page may take; the gallery gets what the rest leaves."""

_LONGEST_PROMPT: Final = 20_000
_LONGEST_VALUE: Final = 600
_COLUMNS: Final = (
    ("Base, greedy", "base", "greedy"),
    ("Trained, greedy", "tuned", "greedy"),
    ("Trained, as configured", "tuned", "sampled"),
)
_FILTERS: Final = (
    ("wrong", "wrong"),
    ("fixed", "fixed"),
    ("broken", "broken"),
    ("unreadable", "unreadable"),
    ("cut-off", "cut off"),
    ("right", "right"),
)


@dataclass(frozen=True)
class ReportInput:
    """Everything that the report shows, as the run directory has it.

    Attributes:
        run_id: the run's name.
        resolution: the settings with their sources and reasons.
        metrics: the content of ``evaluation/metrics.json``.
        predictions: all rows of ``evaluation/predictions.jsonl``.
        load: the picture of a sample, by the sample's id and the picture's key.
        training: the lines of ``training/metrics.jsonl``.
        evaluations: the lines of ``training/evaluations.jsonl``.
        facts: the content of ``dataset/facts.json``.
        training_result: the content of ``training/result.json``.
    """

    run_id: str
    resolution: Resolution
    metrics: Mapping[str, Any]
    predictions: Sequence[Prediction]
    load: Callable[[str, str], Image.Image]
    training: Sequence[Mapping[str, Any]] = ()
    evaluations: Sequence[Mapping[str, Any]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    training_result: Mapping[str, Any] = field(default_factory=dict)


def render_report(given: ReportInput, largest: int = LARGEST) -> str:
    """The page; the same input gives the same bytes.

    Args:
        given: what it shows.
        largest: bytes that it may take. A page without any sample may be larger than a very small limit.
    """
    task = given.resolution.run.task
    environment = _environment()
    template, card_template = environment.get_template("report.html.j2"), environment.get_template("card.html.j2")
    style, script = _asset("report.css"), _asset("report.js")
    page = _page(given)

    def card_html(card: Card) -> Markup:
        return Markup(card_template.render(card=card))  # noqa: S704 - made by the autoescaping template

    def whole(gallery: Gallery, cards: Sequence[Markup]) -> str:
        filters = [("all", "all", gallery.samples)]
        filters += [(kind, label, gallery.counts.get(kind, 0)) for kind, label in _FILTERS]
        return template.render(
            page={**page, "filters": filters},
            gallery=gallery,
            cards=cards,
            style=Markup(style),  # noqa: S704 - a file of this package
            script=Markup(script),  # noqa: S704
            style_hash=_content_hash(style),
            script_hash=_content_hash(script),
        )

    rest = largest - len(whole(Gallery(), []).encode())
    gallery = build_gallery(task, given.predictions, given.load, rest, lambda card: len(card_html(card).encode()) + 1)
    return whole(gallery, [card_html(card) for card in gallery.cards])


def _page(given: ReportInput) -> dict[str, Any]:
    run, metrics = given.resolution.run, given.metrics
    evaluations = _numbers(given.evaluations, "loss")
    quantization = run.quantization_type if run.quantization_enabled else "not quantized"
    return {
        "name": visible(run.name, 200),
        "run_id": visible(given.run_id, 200),
        "task": run.task.value,
        "model": f"{run.architecture} {visible(run.size, 40)} · {run.training_mode} · {quantization} · {run.precision}",
        "verdict": verdict(run.task, metrics),
        "advice": advice(metrics, evaluations),
        "samples": metrics["samples"],
        "columns": [title for title, model, decoding in _COLUMNS if decoding in metrics[model]],
        "scores": _scores(metrics),
        "loss": _loss_chart(given.training, evaluations),
        "rate": chart("Learning rate", [Curve("learning rate", "tuned", _points(given.training, "learning_rate"))]),
        "system_prompt": visible(run.system_prompt, _LONGEST_PROMPT),
        "has_boxes": run.task is Task.PHRASE_GROUNDING,
        "warnings": [visible(warning, _LONGEST_VALUE) for warning in given.resolution.warnings[:50]],
        "settings": [
            {
                "path": visible(entry.path, 200),
                "value": _value(entry.value),
                "source": entry.source,
                "reason": visible(entry.reason, _LONGEST_VALUE),
            }
            for entry in given.resolution.entries[:500]
        ],
        "facts": list(_facts(given)),
    }


def _scores(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    base, tuned = metrics["base"]["greedy"], metrics["tuned"]["greedy"]
    columns = [metrics[model][decoding] for _, model, decoding in _COLUMNS if decoding in metrics[model]]
    rows = []
    for metric, (name, meaning) in METRIC_NAMES.items():
        if metric not in tuned:
            continue
        difference = tuned[metric] - base[metric]
        better = -difference if metric == "cut_off_rate" else difference
        style = "" if metric == "mean_tokens" or abs(difference) < 1e-9 else ("good" if better > 0 else "bad")
        sign = "+" if difference > 0 else ("−" if difference < 0 else "")
        rows.append(
            {
                "name": name,
                "meaning": meaning,
                "primary": metric == metrics["primary"],
                "cells": [score_text(metric, column[metric]) for column in columns],
                "difference": sign + difference_text(metric, abs(difference)),
                "style": style,
            }
        )
    return sorted(rows, key=lambda row: not row["primary"])


def _loss_chart(training: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]]) -> Chart | None:
    return chart(
        "Loss",
        [
            Curve("training", "tuned", _points(training, "loss")),
            Curve("validation", "base", _points(evaluations, "loss")),
        ],
    )


def _points(lines: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    return [(float(line["step"]), float(line[key])) for line in _numbers(lines, key)]


def _numbers(lines: Sequence[Mapping[str, Any]], key: str) -> list[Mapping[str, Any]]:
    """The lines that have a number under ``step`` and ``key``: a curve is no reason to lose the report."""
    return [
        line
        for line in lines
        if all(isinstance(line.get(name), int | float) and not isinstance(line[name], bool) for name in ("step", key))
    ]


def _facts(given: ReportInput) -> list[tuple[str, str]]:
    run, metrics = given.resolution.run, given.metrics
    facts: list[tuple[str, Any]] = [
        ("Base model", run.base_model),
        ("Dataset", run.dataset_source),
        ("Evaluation set (sha256)", metrics.get("evaluation_set_digest")),
        ("Weights (fingerprints)", metrics.get("fingerprints")),
    ]
    facts += [(f"data: {name}", value) for name, value in given.facts.items()]
    facts += [(f"training: {name}", value) for name, value in given.training_result.items()]
    facts += [(f"version: {name}", value) for name, value in metrics.get("versions", {}).items()]
    return [(visible(name, 200), _value(value)) for name, value in facts[:200] if value is not None]


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return visible(text, _LONGEST_VALUE)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("airtune.evaluation.report", "templates"),
        autoescape=True,  # whatever the file's name ends in
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    return environment


def _asset(name: str) -> str:
    return resources.files("airtune.evaluation.report").joinpath("templates", name).read_text(encoding="utf-8")


def _content_hash(text: str) -> str:
    """The value by which a Content-Security-Policy allows exactly this inline style or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
