"""The task of one stage: one argv, run where the platform engineer says."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow.sdk import BaseOperator

from airtune.errors import AirtuneError, ExitCode
from airtune_airflow.links import RunDirectoryLink, page_of
from airtune_airflow.operators.failures import StageFailedError, failure, failure_of
from airtune_airflow.operators.outcomes import Outcome, Retry, judge
from airtune_airflow.settings import Backend, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.sdk import Context, XComArg

    from airtune_airflow.operators.local_process import LocalProcess


class StagePodOperator(BaseOperator):
    """Runs one stage of a run: ``airtune STAGE RUN_URI``.

    There is one operator and one argv; the backend is where it runs. ``local`` makes a child process on the worker,
    ``kubernetes`` a pod, and both end with the same exit codes, which decide about a retry. The operator does not
    *inherit* from ``KubernetesPodOperator`` but uses one while a pod is needed: every parse of the DAG and every task
    process imports this module, and the provider alone would cost each of them two thirds of a CPU-second and 78 MB
    (``benchmarks/dag_parse.py``).

    Args:
        stage: the stage's name: ``inspect``, ``validate``, ``resolve``, ``gate``, ``publish``.
        run_uri: the run (templated).
        part: which part of the stage's work, for example ``2/5``; None for all of it.
        backend: ``local`` or ``kubernetes``; default: ``AIRTUNE_BACKEND``.
        deadline: how long the stage may take; a pod's ``activeDeadlineSeconds`` and the task's ``execution_timeout``.
            Default: ``AIRTUNE_STAGE_TIMEOUT_HOURS``.
        pod_options: arguments for ``KubernetesPodOperator`` that win over airtune's own choice.
        kwargs: those of every Airflow operator.
    """

    template_fields: Sequence[str] = ("run_uri",)
    operator_extra_links = (RunDirectoryLink(),)
    ui_color = "#e8f4ea"

    accelerated: ClassVar[bool] = False
    """Whether accelerate launches the stage, on a GPU where there is one."""

    def __init__(
        self,
        *,
        stage: str,
        run_uri: str | XComArg,
        part: str | None = None,
        backend: Backend | None = None,
        deadline: timedelta | None = None,
        pod_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        settings = Settings.read()
        self.deadline = deadline or self._default_deadline(settings)
        kwargs.setdefault("execution_timeout", self.deadline + _MARGIN)
        kwargs.setdefault("do_xcom_push", False)
        super().__init__(**kwargs)
        self.stage = stage if part is None else f"{stage}-{part.replace('/', '-of-')}"
        self._words = [stage] if part is None else [stage, "--part", part]
        self.run_uri = cast("str", run_uri)  # rendered before execute: the address itself by then
        self.backend: Backend = backend or settings.backend
        self.pod_options = pod_options or {}
        self._told_to_stop = False
        self._stop: Callable[[], None] | None = None

    def argv(self, *, gpus: int) -> list[str]:
        """The stage's command."""
        del gpus
        return ["airtune", *self._words, self.run_uri]

    def gpus(self, settings: Settings) -> int:
        """How many GPUs the stage takes."""
        del settings
        return 0

    def execute(self, context: Context) -> None:
        """Run the stage to its end.

        Raises:
            StageFailedError: it failed, and another try may help.
            StageRefusedError: it failed, and no other try can help.
        """
        settings = Settings.read()
        # Airflow itself sets the link when the task has ended; people want it while it runs.
        context["ti"].xcom_push(key=RunDirectoryLink().xcom_key, value=page_of(self.run_uri))
        try:
            if self.backend == "kubernetes":
                self._run_pod(context, settings)
            else:
                self._run_process(context, settings)
        except AirtuneError as error:  # in this process: a template, a setting, the store
            raise failure_of(error, self.stage) from error

    def on_kill(self) -> None:
        """Tell what runs to save its work and end; Airflow calls this on SIGTERM, also inside ``execute``."""
        self._told_to_stop = True
        if self._stop is not None:
            self._stop()

    def _default_deadline(self, settings: Settings) -> timedelta:
        return settings.stage_timeout

    def _run_process(self, context: Context, settings: Settings) -> None:
        from airtune_airflow.operators.local_process import LocalProcess

        argv = _for_this_machine(self.argv(gpus=self.gpus(settings)))
        run_id = self.run_uri.rstrip("/").rpartition("/")[2]
        process = LocalProcess(
            argv,
            run_uri=self.run_uri,
            stage=self.stage,
            grace_s=settings.grace.total_seconds(),
            env={"AIRTUNE_RUN_ID": run_id, "AIRTUNE_TRY": str(context["ti"].try_number)},
        )
        self._stop = process.stop
        if self._told_to_stop:
            process.stop()
        self.log.info("Running %s", " ".join(argv))
        code = process.run(lambda line: self.log.info("%s", line))
        if code != ExitCode.DONE:
            raise failure(self._outcome_of_process(code, process), self.stage)

    def _outcome_of_process(self, code: int, process: LocalProcess) -> Outcome:
        outcome = judge(code, message=_message_of(self.run_uri, self.stage, code))
        if process.stopped and outcome.retry is not Retry.NEVER:
            return Outcome(code, f"the task was told to stop; {outcome.sentence}", Retry.SOON)
        return outcome

    def _run_pod(self, context: Context, settings: Settings) -> None:
        from airtune_airflow.operators.kubernetes_pod import StagePodRunner
        from airtune_airflow.operators.pod_request import StagePod

        gpus = self.gpus(settings)
        stage = StagePod(
            argv=self.argv(gpus=gpus),
            run_uri=self.run_uri,
            stage=self.stage,
            gpus=gpus,
            accelerated=self.accelerated,
            deadline_s=int(self.deadline.total_seconds()),
            attempt=context["ti"].try_number,
        )
        pod = StagePodRunner(task_id=self.task_id, stage=stage, settings=settings, **self.pod_options)
        self._stop = pod.on_kill
        if self._told_to_stop:
            pod.on_kill()
        pod.run(context)
        self._believe(context)

    def _believe(self, context: Context) -> None:
        """Take a pod's success for one only when the stage itself has recorded it in the run directory."""
        del context
        from airtune.stores.run_directory import RunDirectory
        from airtune.stores.stage_record import read_stage_record

        record = read_stage_record(RunDirectory.open(self.run_uri), self.stage)
        code = record.get("exit_code") if record else None
        if code != ExitCode.DONE:
            told = "no end" if record else "nothing"
            words = f"the pod succeeded, but the stage has recorded {told if code is None else f'exit code {code}'}"
            raise StageFailedError(Outcome(ExitCode.DEFECT, words, Retry.ONCE), self.stage)


_MARGIN = timedelta(minutes=10)  # the stage, or Kubernetes, ends it first and says why


def _for_this_machine(argv: list[str]) -> list[str]:
    """The command with programs of this very environment, whatever PATH the worker was started with."""
    program = argv[0]
    if program == "python":
        return [sys.executable, *argv[1:]]
    beside = Path(sys.executable).parent / program
    return [str(beside) if os.access(beside, os.X_OK) else program, *argv[1:]]


def _message_of(run_uri: str, stage: str, code: int) -> str | None:
    """What the stage has recorded about its end; None when it could not."""
    from airtune.stores.run_directory import RunDirectory
    from airtune.stores.stage_record import read_stage_record

    try:
        record = read_stage_record(RunDirectory.open(run_uri), stage)
    except AirtuneError:
        return None
    if not record or record.get("exit_code") != code:
        return None
    message = record.get("message")
    return message if isinstance(message, str) else None
