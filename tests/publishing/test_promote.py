"""The pointer to the champion and its history, with many who want to move it."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from airtune.errors import DefectError
from airtune.publishing.promote import Pointer, Promotion, promote
from airtune.stores import Store, open_store


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.s3)])
def models(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "file":
        return open_store((tmp_path / "models").as_uri())
    request.getfixturevalue("s3_environment")
    return open_store(f"s3://airtune/{secrets.token_hex(6)}")


def _pointer(run_id: str, value: float = 0.5, metric: str = "exact_match") -> Pointer:
    return Pointer(run_id, f"s3://airtune/runs/{run_id}", metric, value, "e" * 64, "a" * 64)


def _history(models: Store) -> list[dict[str, Any]]:
    return [json.loads(line) for line in models.read("history.jsonl").splitlines()]


def _current(models: Store) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(models.read("current.json"))
    return found


def test_the_first_run_becomes_the_champion(models: Store) -> None:
    assert promote(models, _pointer("a"), compared_with=None) == Promotion(True, "exact_match 0.5")
    assert _current(models)["run_id"] == "a"
    assert _history(models) == [_current(models)]


def test_promoting_the_champion_again_changes_nothing(models: Store) -> None:
    promote(models, _pointer("a"), compared_with=None)
    before = [(info.key, info.version) for info in models.list()]
    assert promote(models, _pointer("a"), compared_with=None).promoted
    assert [(info.key, info.version) for info in models.list()] == before


def test_a_worse_run_that_the_gate_has_allowed_is_promoted(models: Store) -> None:
    promote(models, _pointer("a", 0.9), compared_with=None)
    assert promote(models, _pointer("b", 0.1), compared_with="a").promoted  # a person may have approved it
    assert _current(models)["previous_run"] == "a"
    assert [line["run_id"] for line in _history(models)] == ["a", "b"]


def test_a_champion_that_came_after_the_gates_decision_is_compared_again(models: Store) -> None:
    promote(models, _pointer("a", 0.5), compared_with=None)
    promote(models, _pointer("b", 0.8), compared_with="a")
    held = promote(models, _pointer("c", 0.7), compared_with="a")
    assert not held.promoted
    assert held.reason == "b became the champion after the gate's decision and is better: exact_match 0.8 against 0.7"
    assert not promote(models, _pointer("d", 0.9, "mean_iou"), compared_with="a").promoted
    assert promote(models, _pointer("e", 0.8), compared_with="a").promoted
    assert [line["run_id"] for line in _history(models)] == ["a", "b", "e"]


def test_of_ten_who_promote_at_once_exactly_one_wins_each_round_and_the_history_is_complete(models: Store) -> None:
    promote(models, _pointer("first", 0.1), compared_with=None)
    barrier = threading.Barrier(10)
    results: dict[str, Promotion] = {}
    errors: list[Exception] = []

    def work(number: int) -> None:
        barrier.wait()
        try:
            results[f"r{number}"] = promote(models, _pointer(f"r{number}", number % 4 / 4), compared_with="first")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    history = _history(models)
    winners = [line["run_id"] for line in history]
    assert sorted(winners) == sorted(["first", *(run for run, result in results.items() if result.promoted)])
    # One winner a round: each replaced exactly the one that was entered before it, and the last one is current.
    assert [line["previous_run"] for line in history] == [None, *winners[:-1]]
    assert history[-1] == _current(models)
    assert _current(models)["value"] == 0.75
    assert all(earlier["value"] <= later["value"] for earlier, later in itertools.pairwise(history[1:]))


def test_a_champion_whose_publisher_was_killed_before_the_history_is_entered_by_the_next(tmp_path: Path) -> None:
    models = open_store((tmp_path / "models").as_uri())
    script = f"""
import os, signal
from airtune.publishing import promote as module
from airtune.stores import open_store
module._enter = lambda models, pointer: os.kill(os.getpid(), signal.SIGKILL)
pointer = module.Pointer("killed", "file:///runs/killed", "exact_match", 0.5, None, "a" * 64)
module.promote(open_store({models.uri!r}), pointer, compared_with=None)
"""
    done = subprocess.run([sys.executable, "-c", script], timeout=60, env=dict(os.environ), check=False)
    assert done.returncode == -9
    assert _current(models)["run_id"] == "killed"
    assert models.stat("history.jsonl") is None
    promote(models, _pointer("next", 0.6), compared_with="killed")
    assert [line["run_id"] for line in _history(models)] == ["killed", "next"]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null"])
def test_a_pointer_that_cannot_be_read_is_not_overwritten(models: Store, data: bytes) -> None:
    models.write("current.json", data)
    with pytest.raises(DefectError, match=r"current\.json"):
        promote(models, _pointer("a"), compared_with=None)
    assert models.read("current.json") == data
