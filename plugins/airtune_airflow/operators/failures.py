"""From an outcome to what Airflow does next: the errors tasks raise, and the policy that reads them."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout

from airtune.errors import AirtuneError
from airtune_airflow.operators.outcomes import Outcome, Retry, judge

if TYPE_CHECKING:
    from airflow.sdk import Context

SOON: Final = timedelta(seconds=15)
"""Before another try where nothing needs time to mend."""

LONGEST: Final = timedelta(minutes=10)
"""The back-off doubles from 30 s up to this."""

_DEFECTS: Final = "airtune_defects"

log = logging.getLogger(__name__)


class StageFailedError(AirflowException):
    """A stage ended badly, and another try may help.

    Attributes:
        outcome: how it ended.
    """

    def __init__(self, outcome: Outcome, what: str = "the stage") -> None:
        self.outcome = outcome
        super().__init__(f"{what}: {outcome.sentence}")


class StageRefusedError(AirflowFailException):
    """A stage ended badly, and every other try would end alike: Airflow does not retry it.

    Attributes:
        outcome: how it ended.
    """

    def __init__(self, outcome: Outcome, what: str = "the stage") -> None:
        self.outcome = outcome
        super().__init__(f"{what}: {outcome.sentence}")


def failure(outcome: Outcome, what: str) -> AirflowException:
    """The exception for an outcome that is not success; ``what`` begins its message."""
    return StageRefusedError(outcome, what) if outcome.retry is Retry.NEVER else StageFailedError(outcome, what)


def failure_of(error: AirtuneError, what: str) -> AirflowException:
    """The exception for an error of airtune's own that was raised in the task's process.

    The error goes into the task's log as JSON, too: there ``airtune submit --wait`` finds it.
    """
    log.error("airtune-error: %s", json.dumps(error.to_json()))
    return failure(judge(int(error.exit_code), message=str(error)), what)


class StageRetryPolicy(RetryPolicy):
    """Retries by how the stage ended: soon, with a growing delay, once, or not at all (also after a timeout).

    The number of a task's ``retries`` stays the upper bound. A defect is retried once, however many tries
    pre-emptions took before: the count is kept where it survives tries, in Airflow's task state store.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """See :class:`airflow.sdk.definitions.retry_policy.RetryPolicy`."""
        del max_tries
        if isinstance(exception, AirflowTaskTimeout):
            return RetryDecision.fail(reason="it ran longer than it may (AIRTUNE_TRAIN_TIMEOUT_HOURS and its like)")
        if not isinstance(exception, StageFailedError):
            return RetryDecision.default()
        outcome = exception.outcome
        reason = outcome.sentence.splitlines()[0]
        if outcome.retry is Retry.ONCE and _count_defect(context, try_number) > 1:
            return RetryDecision.fail(reason=f"{reason}; tried again already")
        if outcome.retry is Retry.BACK_OFF:
            delay = min(LONGEST, timedelta(seconds=30 * 2 ** min(try_number - 1, 10)))
            return RetryDecision.retry(delay=delay, reason=reason)
        return RetryDecision.retry(delay=SOON, reason=reason)


def _count_defect(context: Context | None, try_number: int) -> int:
    """Which defect of this task this is: 1, 2 ..."""
    store = context.get("task_state_store") if context else None
    if store is None:
        return try_number
    before = store.get(_DEFECTS, 0)
    count = (before if isinstance(before, int) else 0) + 1
    store.set(_DEFECTS, count)
    return count
