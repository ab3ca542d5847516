from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airtune.errors import DefectError
from airtune.evaluation.gate import Verdict, gate
from airtune.stores import layout
from airtune.stores.base import MissingError
from airtune.stores.run_directory import RunDirectory

NAME = "Shapes-tiny-LoRA-v1"


@pytest.fixture
def make(tmp_path: Path, tools: Any) -> Any:
    """Makes an evaluated run of this value."""

    def make_run(run_id: str, value: Any, *, digest: str = "e" * 64, name: str = NAME) -> RunDirectory:
        run = RunDirectory.create((tmp_path / "store").as_uri(), run_id, '{"spec": {}}')
        run.write_text(layout.RESOLUTION, tools.resolution(tools.resolved_run(name=name)).to_json())
        scores = {
            "primary": "exact_match",
            "evaluation_set_digest": digest,
            "tuned": {"greedy": {"exact_match": value}},
        }
        (run.path(layout.METRICS)).write_text(json.dumps(scores))
        return run

    return make_run


def promote(run: RunDirectory, value: Any, name: str = NAME, **changes: Any) -> None:
    """The pointer as publishing writes it."""
    pointer = {"run_id": run.run_id, "run_uri": run.uri, "metric": "exact_match", "value": value, **changes}
    run.model_store(name).write(layout.CURRENT, json.dumps(pointer).encode())


def test_the_first_model_of_a_name_is_promoted(make: Any) -> None:
    run = make("one", 0.1)
    verdict = gate(run)
    assert (verdict.decision, verdict.champion_run, verdict.same_evaluation_set) == ("promote", None, None)
    assert Verdict(**run.read_json(layout.GATE)) == verdict


@pytest.mark.parametrize(("value", "decision"), [(0.9, "promote"), (0.8, "promote"), (0.79, "hold")])
def test_a_model_that_is_not_worse_than_the_champion_is_promoted(make: Any, value: float, decision: str) -> None:
    promote(make("champion", 0.8), 0.8)
    verdict = gate(make("challenger", value))
    assert verdict.decision == decision
    assert (verdict.metric, verdict.challenger, verdict.champion) == ("exact_match", value, 0.8)
    assert verdict.champion_run == "champion"
    assert verdict.same_evaluation_set is True
    assert f"{value:.4g} against 0.8 of the champion champion, on the same evaluation set" in verdict.reason


def test_another_evaluation_set_is_on_record(make: Any) -> None:
    promote(make("champion", 0.8, digest="f" * 64), 0.8)
    verdict = gate(make("challenger", 0.9))
    assert verdict.same_evaluation_set is False
    assert "on another evaluation set than the champion's" in verdict.reason


def test_models_of_different_names_do_not_meet(make: Any) -> None:
    promote(make("champion", 0.8), 0.8)
    assert gate(make("other", 0.1, name="Another name")).decision == "promote"


@pytest.mark.parametrize("pointer", [b"{", b"[]", b'{"run_id": "../up"}', b'{"value": 1}', b"\xff", b""])
def test_a_champion_that_cannot_be_read_is_left_in_place(make: Any, pointer: bytes) -> None:
    run = make("one", 1.0)
    run.model_store(NAME).write(layout.CURRENT, pointer)
    verdict = gate(run)
    assert verdict.decision == "hold"
    assert f"models/{NAME}/current.json cannot be read" in verdict.reason


@pytest.mark.parametrize("changes", [{"metric": "f1_50"}, {"value": None}, {"value": "0.8"}, {"value": True}])
def test_a_champion_measured_by_something_else_is_left_in_place(make: Any, changes: dict[str, Any]) -> None:
    champion = make("champion", 0.8)
    promote(champion, 0.8, **changes) if "value" not in changes else promote(champion, changes["value"])
    verdict = gate(make("challenger", 0.9))
    assert verdict.decision == "hold"
    assert "cannot be compared with 'exact_match'" in verdict.reason


def test_the_verdict_on_a_promoted_or_published_run_stands(make: Any) -> None:
    run = make("one", 0.5)
    first = gate(run)
    promote(run, 0.5)
    assert gate(run) == first
    run.write_json(layout.MANIFEST, {})
    promote(make("two", 0.9), 0.9)
    before = run.store.stat(layout.GATE)
    assert gate(run) == first
    assert run.store.stat(layout.GATE) == before


def test_a_run_that_was_not_evaluated_is_refused(make: Any) -> None:
    run = make("one", 0.5)
    run.store.delete(layout.METRICS)
    with pytest.raises(MissingError, match=r"metrics\.json"):
        gate(run)


@pytest.mark.parametrize("value", [None, "good", float("nan"), float("inf"), True])
def test_scores_that_are_no_numbers_are_a_defect(make: Any, value: object) -> None:
    with pytest.raises(DefectError, match=r"metrics\.json"):
        gate(make("one", value))
