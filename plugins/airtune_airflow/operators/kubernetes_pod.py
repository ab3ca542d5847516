"""A stage as a pod: Airflow's KubernetesPodOperator, with its false success closed and its ends translated.

Importing the provider costs two thirds of a CPU-second (benchmarks/dag_parse.py), so this module is imported when a
pod is about to be made, and never by a DAG file, a plugin or a task whose stage runs as a local process.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException

from airtune_airflow.operators.failures import StageFailedError, failure
from airtune_airflow.operators.outcomes import KILLED, Outcome, Retry, judge
from airtune_airflow.operators.pod_request import CONTAINER, StagePod, pod_request
from airtune_airflow.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Context
    from kubernetes.client import V1ContainerStateTerminated, V1Pod

_TOLD_TO_STOP = Outcome(None, "the task was told to stop, and its pod was deleted", Retry.SOON)


class StagePodRunner(KubernetesPodOperator):
    """Runs one stage's pod to its end, on behalf of a task.

    What differs from the provider's operator:

    * A task that was told to stop (SIGTERM when its worker is drained) **fails**, and is tried again. The provider's
      own ``cleanup`` returns early in that case and the task is marked success, although its pod was killed
      (apache/airflow issue 73006).
    * What Kubernetes says about the end becomes a sentence and a decision about the retry.
    * Secrets are never printed with the pod's specification, because it is not printed.

    Args:
        task_id: of the task on whose behalf it runs; the pod is named after it.
        stage: what the pod is made for.
        settings: the platform engineer's.
        options: further arguments of ``KubernetesPodOperator``, which win over those chosen here.
    """

    def __init__(self, *, task_id: str, stage: StagePod, settings: Settings, **options: Any) -> None:
        grace_s = int(settings.grace.total_seconds())
        request = pod_request(stage, settings)
        chosen: dict[str, Any] = {
            "name": re.sub(r"[^a-z0-9-]+", "-", f"airtune-{stage.stage}".lower()),
            "pod_template_dict": request,
            "namespace": settings.namespace,
            "kubernetes_conn_id": settings.kubernetes_conn_id,
            "base_container_name": CONTAINER,
            "random_name_suffix": True,
            "durable": True,
            "get_logs": True,
            "do_xcom_push": False,
            "deferrable": False,
            "log_pod_spec_on_failure": False,
            "log_events_on_failure": True,
            "container_name_log_prefix_enabled": False,
            "on_finish_action": "delete_pod",
            "termination_message_policy": "FallbackToLogsOnError",
            "termination_grace_period": request["spec"]["terminationGracePeriodSeconds"],
            "active_deadline_seconds": stage.deadline_s,
            "schedule_timeout_seconds": int(settings.schedule_timeout.total_seconds()),
            "startup_check_interval_seconds": 2,
            "startup_timeout_seconds": int(settings.startup_timeout.total_seconds()),
        }
        super().__init__(task_id=task_id, **{**chosen, **options})
        self._grace_s = grace_s
        self._seen: V1Pod | None = None

    def run(self, context: Context) -> Outcome:
        """Make the pod, or find the one that an earlier try of this task has left running, and wait for its end.

        Returns:
            The outcome of a pod that succeeded.

        Raises:
            StageFailedError: it did not, and another try may help.
            StageRefusedError: it did not, and no other try can help.
        """
        try:
            self.execute_sync(context)
        except StageFailedError:
            raise
        except AirflowException:
            outcome = outcome_of(self._seen)
            if outcome is None or outcome.done:  # nothing ended: the pod could not be made, started or watched
                raise
            raise failure(outcome, self._what()) from None  # the provider's own words say less
        if self._killed:  # told to stop after the last look at the pod
            raise StageFailedError(_TOLD_TO_STOP, self._what())
        return outcome_of(self._seen) or judge(None)

    def get_or_create_pod(self, pod_request_obj: V1Pod, context: Context) -> V1Pod:
        """See the base class; makes nothing for a task that was told to stop meanwhile."""
        if self._killed:
            raise StageFailedError(_TOLD_TO_STOP, self._what())
        return super().get_or_create_pod(pod_request_obj, context)

    def cleanup(
        self,
        pod: V1Pod,
        remote_pod: V1Pod,
        xcom_result: dict[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        """See the base class; raises where that one returns as if all were well.

        Raises:
            StageFailedError: the task was told to stop.
        """
        self._seen = remote_pod
        if self._killed:
            raise StageFailedError(_TOLD_TO_STOP, self._what())
        super().cleanup(pod, remote_pod, xcom_result, context)

    def _what(self) -> str:
        return str(self.task_id)


def outcome_of(pod: V1Pod | None) -> Outcome | None:
    """What the end of a pod means; None when it has not ended."""
    if pod is None or pod.status is None:
        return None
    terminated = _terminated(pod)
    if pod.status.phase not in ("Succeeded", "Failed"):
        return None
    pod_reason = pod.status.reason
    if terminated is None:
        return judge(None, reason=pod_reason, message=pod.status.message)
    reason = pod_reason or (terminated.reason if terminated.reason == "OOMKilled" else None)
    code = int(terminated.exit_code)
    if reason is None and code == KILLED and terminated.reason not in (None, "Error"):
        reason = terminated.reason
    return judge(code, reason=reason, message=terminated.message or pod.status.message)


def _terminated(pod: V1Pod) -> V1ContainerStateTerminated | None:
    for status in pod.status.container_statuses or []:
        if status.name == CONTAINER and status.state is not None:
            return status.state.terminated
    return None
