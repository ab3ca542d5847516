from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from airtune.errors import ExitCode, PreemptedError
from airtune.training.stopping import StopRequest, evaluations_without_gain


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_a_signal_is_noted_and_ends_the_run_with_75_when_there_is_nothing_to_save() -> None:
    request = StopRequest.listen()
    request.check()
    assert not request
    os.kill(os.getpid(), signal.SIGTERM)
    assert request
    with pytest.raises(PreemptedError, match="told to stop \\(SIGTERM\\); nothing was lost") as caught:
        request.check()
    assert caught.value.exit_code == ExitCode.PREEMPTED == 75


@pytest.mark.parametrize(
    ("losses", "waited"), [([], 0), ([3.0], 0), ([3.0, 2.0, 1.0], 0), ([3.0, 1.0, 2.0, 1.5], 2), ([1.0, 1.0], 1)]
)
def test_patience_counts_the_evaluations_since_the_best_one(losses: list[float], waited: int) -> None:
    assert evaluations_without_gain(losses) == waited
