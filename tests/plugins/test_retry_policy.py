"""Whether and when a task is tried again."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.airflow

PROGRAM = """
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout
from airtune.errors import NotPermittedError, Problem, SettingsError, StoreError
from airtune_airflow.operators.failures import StageRetryPolicy, failure, failure_of
from airtune_airflow.operators.outcomes import judge

def decide(error, try_number=1, store=None):
    context = None if store is None else {"task_state_store": store}
    found = StageRetryPolicy().evaluate(error, try_number, 5, context)
    return [found.action.value, found.retry_delay.total_seconds() if found.retry_delay else None]

class Store(dict):
    def set(self, key, value):
        self[key] = value

kept = Store()
tell(
    preempted=decide(failure(judge(75), "train")),
    store=[decide(failure(judge(76), "train"), number) for number in (1, 2, 3, 9)],
    defects=[decide(failure(judge(70), "train"), number, kept) for number in (4, 5)],
    defects_without_memory=[decide(failure(judge(70), "train"), number) for number in (1, 2)],
    timeout=decide(AirflowTaskTimeout("too long")),
    other=decide(AirflowException("the pod could not be made")),
    final={code: isinstance(failure(judge(code), "x"), AirflowFailException)
           for code in (64, 65, 70, 71, 72, 75, 76, 77)},
    errors=[isinstance(failure_of(kind(Problem("a", "b")), "x"), AirflowFailException)
            for kind in (SettingsError, NotPermittedError, StoreError)],
    words=str(failure_of(SettingsError([Problem("a", "is wrong"), Problem("b", "is wrong too")]), "load_run")),
)
"""


@pytest.fixture(scope="module")
def told(module_airflow: Any) -> dict[str, Any]:
    """What the policy decides."""
    result: dict[str, Any] = module_airflow.run(PROGRAM)
    return result


def test_a_preempted_stage_is_tried_again_soon(told: dict[str, Any]) -> None:
    assert told["preempted"] == ["retry", 15]


def test_a_store_that_is_away_is_given_more_and_more_time(told: dict[str, Any]) -> None:
    assert told["store"] == [["retry", 30], ["retry", 60], ["retry", 120], ["retry", 600]]


def test_a_defect_is_tried_again_once_however_many_tries_preemptions_took(told: dict[str, Any]) -> None:
    assert [action for action, _ in told["defects"]] == ["retry", "fail"]
    assert [action for action, _ in told["defects_without_memory"]] == ["retry", "fail"]


def test_what_took_too_long_is_not_begun_again(told: dict[str, Any]) -> None:
    assert told["timeout"][0] == "fail"


def test_anything_else_is_airflows_own_business(told: dict[str, Any]) -> None:
    assert told["other"][0] == "default"


def test_ends_that_no_try_can_change_are_final_whatever_the_policy(told: dict[str, Any]) -> None:
    assert {int(code) for code, final in told["final"].items() if final} == {64, 65, 71, 72, 77}
    assert told["errors"] == [True, True, False]


def test_every_problem_is_in_the_message(told: dict[str, Any]) -> None:
    assert "a: is wrong" in told["words"]
    assert "b: is wrong too" in told["words"]
