"""One run: from a run.json to a published model. Wiring only; each task is one command of airtune."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import chain, dag, get_current_context, task

from airtune_airflow.operators.accelerate_pod import AcceleratePodOperator
from airtune_airflow.operators.failures import SOON, StageRetryPolicy
from airtune_airflow.operators.stage_pod import StagePodOperator
from airtune_airflow.settings import Settings
from airtune_airflow.trigger_form import params

SETTINGS = Settings.read()

ABOUT = """
# A run.json becomes a published model

Trigger it with `{"run": <run.json or its URI>}`, from the form, over REST, or with `airtune submit RUN.json`.
Between the tasks travels nothing but the address of the **run directory**, where every stage leaves its results;
the button *Run directory* on a task opens its page. A task that is tried again goes on where it was.
"""

INSPECT: dict[str, Any] = {
    "task_id": "inspect_images",
    "stage": "inspect",
    "doc_md": "One part of a large dataset's images, decoded ahead: `airtune inspect RUN_URI --part 2/5`.",
    "execution_timeout": SETTINGS.stage_timeout,
    "do_xcom_push": False,
}
BEFORE: list[dict[str, Any]] = [
    {
        "task_id": "validate_dataset",
        "stage": "validate",
        "doc_md": "Reads every sample and every image once, and sets bad ones aside: `airtune validate RUN_URI`.",
        "trigger_rule": "none_failed",  # a small dataset has no parts to look at ahead
    },
    {
        "task_id": "resolve_config",
        "stage": "resolve",
        "doc_md": "Makes every setting concrete, each with its source and reason: `airtune resolve RUN_URI`.",
    },
]
ACCELERATED: list[dict[str, Any]] = [
    {
        "task_id": "finetune",
        "stage": "train",
        "doc_md": "Trains; goes on from the newest checkpoint where there is one: `airtune train RUN_URI`.",
    },
    {
        "task_id": "evaluate",
        "stage": "evaluate",
        "doc_md": "Scores the base model and the trained one on the same samples: `airtune evaluate RUN_URI`.",
    },
]
AFTER: list[dict[str, Any]] = [
    {
        "task_id": "gate",
        "stage": "gate",
        "doc_md": "Compares with the champion, and decides whether to promote: `airtune gate RUN_URI`.",
    },
    {
        "task_id": "publish",
        "stage": "publish",
        "doc_md": "Uploads the bundle, loads it back, promotes it if the gate said so: `airtune publish RUN_URI`.",
    },
]
ON_A_GPU: dict[str, Any] = {
    "pool": SETTINGS.pool,
    "max_active_tis_per_dag": 1 if SETTINGS.backend == "local" else None,  # two would share the worker's one GPU
    "retries": 10,  # for pre-emptions; the policy retries a defect once, and what cannot succeed not at all
}


@dag(
    dag_id="vlm_finetune",
    description="Fine-tunes a vision-language model from one run.json, and publishes it",
    doc_md=ABOUT,
    schedule=None,
    catchup=False,
    max_active_runs=SETTINGS.max_active_runs,
    default_args={"retries": 3, "retry_delay": SOON, "retry_policy": StageRetryPolicy()},
    dagrun_timeout=None,
    tags=["airtune", "vision-language"],
    render_template_as_native_obj=False,
)
def vlm_finetune() -> None:
    @task(execution_timeout=timedelta(minutes=15), doc_md="Checks the run.json whole, and makes the run directory.")
    def load_run() -> str:
        from airtune.errors import AirtuneError
        from airtune_airflow.intake import begin
        from airtune_airflow.operators.failures import failure_of

        context = get_current_context()
        dag_run = context["dag_run"]
        try:
            return begin(context["params"], dag_run.conf or {}, dag_run.run_id)
        except AirtuneError as error:
            raise failure_of(error, "load_run") from None

    @task(
        execution_timeout=timedelta(minutes=15),
        doc_md="Says how many tasks look at the images of a large dataset; none for a small one.",
    )
    def plan_inspection(run_uri: str) -> list[str]:
        from airtune.errors import AirtuneError
        from airtune_airflow.intake import parts
        from airtune_airflow.operators.failures import failure_of

        try:
            return parts(run_uri)
        except AirtuneError as error:
            raise failure_of(error, "plan_inspection") from None

    run_uri: Any = load_run()
    parts = plan_inspection(run_uri)
    inspected = StagePodOperator.partial(run_uri=run_uri, **INSPECT).expand(part=parts)
    tasks = [StagePodOperator(run_uri=run_uri, **options) for options in BEFORE]
    tasks += [AcceleratePodOperator(run_uri=run_uri, **ON_A_GPU, **options) for options in ACCELERATED]
    tasks += [StagePodOperator(run_uri=run_uri, **options) for options in AFTER]
    chain(inspected, *tasks)


made = vlm_finetune()
# Only now: a task copies the params that its DAG has when it is made, and this form would be stored eight times.
made.params.update(params())
