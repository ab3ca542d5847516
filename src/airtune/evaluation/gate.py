"""Whether a new model may take the place of the one that is promoted now.

It promotes when there is no champion, or when the primary metric of the tuned model's greedy answers is not worse
than the champion's. What was compared stands in ``evaluation/gate.json``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from airtune.errors import DefectError, Problem, SettingsError
from airtune.runspec.resolved import Resolution
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

Decision = Literal["promote", "hold"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's decision and what it rests on.

    Attributes:
        decision: ``promote`` or ``hold``.
        reason: why, in a sentence.
        model: the folder below ``models/`` that the run would be promoted in.
        metric: the metric that was compared; larger is better.
        challenger: its value for this run's model.
        champion: its value for the promoted model, or None when there is none or it cannot be compared.
        champion_run: id of the promoted run, or None.
        same_evaluation_set: whether both values were measured on the same samples; None without a champion.
    """

    decision: Decision
    reason: str
    model: str
    metric: str
    challenger: float
    champion: float | None
    champion_run: str | None
    same_evaluation_set: bool | None

    def __str__(self) -> str:
        """The decision in a sentence."""
        return f"{self.decision}: {self.reason} ({self.metric} {self.challenger:.4g})"

    def to_json(self) -> dict[str, Any]:
        """The content of ``evaluation/gate.json``."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Score:
    """The new model's primary score, and the digest of the samples on which it was measured."""

    metric: str
    value: float
    evaluation_set: str | None


def gate(run: RunDirectory) -> Verdict:
    """Decides, and writes ``evaluation/gate.json``; the same again as long as the champion is the same.

    Once the run is published (it has a manifest, which lists the gate's file) or promoted, what was decided stands.

    Raises:
        MissingError: the run has not been evaluated.
        DefectError: its scores cannot be read.
    """
    resolved = Resolution.from_json(run.store.read(layout.RESOLUTION)).run
    scores = run.read_json(layout.METRICS)
    metric, value = _challenger(scores, f"{run.uri}/{layout.METRICS}")
    model = layout.model_folder_name(resolved.name)
    found = run.model_store(model).read_versioned(layout.CURRENT)
    pointer = _object(found[0]) if found else None
    recorded = _recorded(run)
    if recorded is not None and (run.exists(layout.MANIFEST) or (pointer or {}).get("run_id") == run.run_id):
        return recorded
    verdict = _decide(run, model, Score(metric, value, scores.get("evaluation_set_digest")), found is not None, pointer)
    run.write_json(layout.GATE, verdict.to_json())
    return verdict


def _decide(run: RunDirectory, model: str, score: Score, has_champion: bool, pointer: dict[str, Any] | None) -> Verdict:
    def verdict(
        decision: Decision,
        reason: str,
        champion: float | None = None,
        champion_run: str | None = None,
        same: bool | None = None,
    ) -> Verdict:
        return Verdict(decision, reason, model, score.metric, score.value, champion, champion_run, same)

    if not has_champion:
        return verdict("promote", f"there is no champion of {model!r} yet")
    champion_run = _run_id(pointer)
    if pointer is None or champion_run is None:
        return verdict(
            "hold",
            f"models/{model}/{layout.CURRENT} cannot be read, so there is nothing to compare with; "
            "a person has to repair or remove it",
        )
    if champion_run == run.run_id:
        return verdict("promote", "this run is the champion already", score.value, champion_run, same=True)
    champion = _number(pointer.get("value"))
    if pointer.get("metric") != score.metric or champion is None:
        return verdict(
            "hold",
            f"the champion {champion_run} was measured by {pointer.get('metric')!r} = {pointer.get('value')!r}, "
            f"which cannot be compared with {score.metric!r}",
            None,
            champion_run,
        )
    measured_on = _champions_evaluation_set(run, pointer, champion_run)
    same = measured_on is not None and measured_on == score.evaluation_set
    where = "on the same evaluation set" if same else "on another evaluation set than the champion's"
    better = score.value >= champion
    comparison = f"{score.metric} {score.value:.4g} against {champion:.4g} of the champion {champion_run}, {where}"
    return verdict(
        "promote" if better else "hold",
        f"{'not worse' if better else 'worse'}: {comparison}",
        champion,
        champion_run,
        same,
    )


def _challenger(scores: Any, where: str) -> tuple[str, float]:
    try:
        metric = scores["primary"]
        value = _number(scores["tuned"]["greedy"][metric])
    except (KeyError, TypeError):
        metric = value = None
    if not isinstance(metric, str) or value is None:
        raise DefectError(
            Problem(where, "has no tuned.greedy score for its primary metric", fix="run `airtune evaluate` again")
        )
    return metric, value


def _champions_evaluation_set(run: RunDirectory, pointer: Mapping[str, Any], champion_run: str) -> str | None:
    """Digest of the samples on which the champion was measured; None when its record cannot be found."""
    digest = pointer.get("evaluation_set_digest")
    if digest is None:
        found = run.root.read_versioned(f"{layout.RUNS}/{champion_run}/{layout.METRICS}")
        digest = (_object(found[0]) or {}).get("evaluation_set_digest") if found else None
    return digest if isinstance(digest, str) else None


def _recorded(run: RunDirectory) -> Verdict | None:
    found = run.store.read_versioned(layout.GATE)
    try:
        return Verdict(**(_object(found[0]) or {})) if found else None
    except TypeError:
        return None


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _run_id(pointer: Mapping[str, Any] | None) -> str | None:
    try:
        return layout.check_run_id(pointer["run_id"]) if pointer else None
    except (KeyError, SettingsError):
        return None


def _number(value: object) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None  # type: ignore[arg-type]
