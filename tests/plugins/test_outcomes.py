"""What the end of a stage means."""

from __future__ import annotations

import pytest

from airtune.errors import ExitCode
from airtune_airflow.operators.outcomes import Retry, judge


@pytest.mark.parametrize(
    ("code", "retry"),
    [
        (ExitCode.SETTINGS, Retry.NEVER),
        (ExitCode.DATA, Retry.NEVER),
        (ExitCode.DEFECT, Retry.ONCE),
        (ExitCode.OUT_OF_MEMORY, Retry.NEVER),
        (ExitCode.DIVERGED, Retry.NEVER),
        (ExitCode.PREEMPTED, Retry.SOON),
        (ExitCode.STORE, Retry.BACK_OFF),
        (ExitCode.NOT_PERMITTED, Retry.NEVER),
        (137, Retry.SOON),
        (143, Retry.SOON),
        (127, Retry.NEVER),
    ],
)
def test_exit_codes_decide_about_another_try_as_the_design_has_it(code: int, retry: Retry) -> None:
    assert judge(code).retry is retry


def test_every_exit_code_of_airtune_has_a_meaning_of_its_own() -> None:
    meanings = {judge(int(code)).sentence for code in ExitCode}
    assert len(meanings) == len(ExitCode)


def test_only_zero_is_done() -> None:
    assert judge(0).done
    assert not any(judge(code).done for code in (1, 64, 75, 137, None))


@pytest.mark.parametrize("reason", ["Evicted", "NodeLost", "Preempting", "UnexpectedAdmissionError"])
def test_what_the_cluster_did_is_named_and_tried_again_whatever_the_exit_code(reason: str) -> None:
    outcome = judge(137, reason=reason, message="the node was low on memory")
    assert outcome.retry is Retry.SOON
    assert reason in outcome.sentence
    assert "low on memory" in outcome.sentence


def test_running_into_a_limit_is_not_tried_again() -> None:
    assert judge(137, reason="OOMKilled").retry is Retry.NEVER
    assert judge(143, reason="DeadlineExceeded").retry is Retry.NEVER


def test_an_unknown_exit_code_counts_as_a_defect_and_is_named() -> None:
    outcome = judge(3)
    assert outcome.retry is Retry.ONCE
    assert "exit code 3" in outcome.sentence


def test_the_stages_own_words_follow_the_meaning() -> None:
    assert judge(64, message="epochs: must be at least 1").sentence.endswith("\nepochs: must be at least 1")
