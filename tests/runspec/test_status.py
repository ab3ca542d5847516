"""How a run goes, in the platform's format."""

from __future__ import annotations

from typing import Any

from airtune.runspec.document import RunDocument
from airtune.runspec.status import FINISHED, STARTED, Condition, fresh


def test_a_condition_is_added_with_its_time_and_the_times_of_the_run_move(small: dict[str, Any]) -> None:
    document = RunDocument.from_object(small)
    begun = document.with_status(at_ms=1000, conditions=[Condition(STARTED, "Reached")], log="begun").raw
    assert begun["metadata"] == {"timeCreated": 1000, "lastUpdated": 1000, "generation": 1, "attributes": {}}
    assert begun["status"] == {
        "log": "begun",
        "observedGeneration": 1,
        "conditions": [{"condition": "Started", "status": "Reached", "lastTransitionTime": 1000}],
    }


def test_the_time_of_a_condition_moves_only_when_its_status_does(small: dict[str, Any]) -> None:
    document = RunDocument.from_object(small)
    document = document.with_status(at_ms=1, conditions=[Condition(STARTED, "Reached"), Condition(FINISHED, "Waiting")])
    document = document.with_status(at_ms=2, conditions=[Condition(STARTED, "Reached", message="again")])
    document = document.with_status(at_ms=3, conditions=[Condition(FINISHED, "FailedReach", reason="data")])
    assert document.raw["status"]["conditions"] == [
        {"condition": "Started", "status": "Reached", "lastTransitionTime": 1, "message": "again"},
        {"condition": "Finished", "status": "FailedReach", "lastTransitionTime": 3, "reason": "data"},
    ]
    assert document.raw["metadata"]["timeCreated"] == 1
    assert document.raw["metadata"]["lastUpdated"] == 3


def test_a_finished_run_of_the_platform_becomes_a_new_one(platform: dict[str, Any]) -> None:
    made = fresh(platform, run_id="mine")
    assert made["runId"] == "mine"
    assert made["metadata"]["attributes"] == {"team": "harbour", "sourceRunId": platform["runId"]}
    assert made["status"] == {"log": "", "observedGeneration": 2, "conditions": []}
    assert made["spec"] == platform["spec"]
    assert fresh(made, run_id="mine") == made
    assert RunDocument.from_object(made).raw == made
