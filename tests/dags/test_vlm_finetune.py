"""The DAG: what parsing it costs, how it is wired, and what it refuses before and after a run exists."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.airflow

PROJECT = Path(__file__).resolve().parents[2]
TASKS = [
    *("load_run", "plan_inspection", "inspect_images"),
    *("validate_dataset", "resolve_config", "finetune", "evaluate", "gate", "publish"),
]

DESCRIBE = """
import runpy
dag = runpy.run_path(sys.argv[2])["made"]
from airflow.serialization.serialized_objects import DagSerialization
text = json.dumps(DagSerialization.to_dict(dag), sort_keys=True)
heavy = ("torch", "transformers", "peft", "pandas", "great_expectations", "boto3", "kubernetes", "airtune.datasets")
tell(
    heavy=[name for name in heavy if name in sys.modules],
    order=[task.task_id for task in dag.topological_sort()],
    downstream={task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
    pushes=[task.task_id for task in dag.tasks if getattr(task, "partial_kwargs", vars(task))["do_xcom_push"]],
    documented=[task.task_id for task in dag.tasks if task.doc_md],
    limits={task.task_id: task.execution_timeout.total_seconds() for task in dag.tasks},
    policies=sorted({type(task.retry_policy).__name__ for task in dag.tasks}),
    retries={task.task_id: task.retries for task in dag.tasks},
    classes={task.task_id: type(task).__name__ for task in dag.tasks},
    argv={task.task_id: task.argv(gpus=0) for task in dag.tasks if hasattr(task, "argv")},
    schedule=dag.schedule, catchup=dag.catchup, params=list(dag.params), serialized=text,
    fields={name: dag.params.get_param(name).schema for name in dag.params},
    pools={task.task_id: task.pool for task in dag.tasks},
)
"""


@pytest.fixture(scope="module")
def described(module_airflow: Any) -> dict[str, Any]:
    """The DAG file, parsed in a fresh process."""
    result: dict[str, Any] = module_airflow.run(DESCRIBE, str(PROJECT / "dags" / "vlm_finetune.py"))
    return result


def test_parsing_imports_nothing_heavy(described: dict[str, Any]) -> None:
    assert described["heavy"] == []


def test_parsing_costs_less_than_a_cpu_second_more_than_importing_airflow() -> None:
    output = subprocess.run(
        [sys.executable, str(PROJECT / "benchmarks/dag_parse.py"), "--json", "--times", "1"],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    ).stdout
    cases = {row["case"]: row for row in json.loads(output)["cases"]}
    assert cases["... and airtune's DAG files"]["more_cpu_s"] < 1.0
    assert cases["... and airtune's DAG files"]["heavy"] == []
    assert cases["... and the provider's KubernetesPodOperator"]["heavy"] == ["kubernetes"]  # it can see what is heavy
    assert json.loads(output)["plugin"]["cpu_s"] < 0.05


def test_the_stages_stand_in_the_order_of_the_design(described: dict[str, Any]) -> None:
    assert described["order"] == TASKS
    for before, after in itertools.pairwise(TASKS):
        assert after in described["downstream"][before]


def test_nothing_but_the_run_uri_and_the_names_of_parts_travels(described: dict[str, Any]) -> None:
    assert described["pushes"] == ["load_run", "plan_inspection"]


def test_each_stage_is_the_command_that_a_person_would_run(described: dict[str, Any]) -> None:
    argv = described["argv"]
    for task, stage in (
        ("validate_dataset", "validate"),
        ("resolve_config", "resolve"),
        ("gate", "gate"),
        ("publish", "publish"),
    ):
        assert argv[task][:2] == ["airtune", stage]
    for task, module in (("finetune", "airtune.training"), ("evaluate", "airtune.evaluation")):
        words = " ".join(argv[task][:-1])
        assert "accelerate launch" in words
        assert words.endswith(f"-m {module}")
        assert described["classes"][task] == "AcceleratePodOperator"


def test_it_runs_when_it_is_asked_to_and_never_by_itself(described: dict[str, Any]) -> None:
    assert described["schedule"] is None
    assert described["catchup"] is False


def test_every_task_has_a_limit_a_retry_policy_and_words_about_it(described: dict[str, Any]) -> None:
    assert set(described["limits"]) == set(TASKS)
    assert described["policies"] == ["StageRetryPolicy"]
    assert min(described["retries"].values()) >= 2
    assert described["documented"] == described["order"]


def test_the_gpu_tasks_use_a_pool_that_always_exists(described: dict[str, Any]) -> None:
    assert set(described["pools"].values()) == {"default_pool"}


def test_the_form_asks_for_a_run_and_offers_what_people_change_most(described: dict[str, Any]) -> None:
    assert described["params"][0] == "run"
    assert described["params"][-1] == "overrides"
    assert set(described["params"]) >= {
        *("dataset", "base_model", "architecture", "mode", "quantization", "precision", "epochs", "learning_rate"),
        *("batch_size", "gradient_accumulation", "optimizer", "max_new_tokens", "temperature", "top_p", "top_k"),
        "repetition_penalty",
    }
    for name, schema in described["fields"].items():
        assert schema["section"], name
        assert schema["description_md"], name
        assert name == "run" or "null" in schema["type"], name


def test_the_same_file_gives_the_same_dag_at_every_parse(module_airflow: Any, described: dict[str, Any]) -> None:
    module_airflow.env["PYTHONHASHSEED"] = "4711"
    again = module_airflow.run(DESCRIBE, str(PROJECT / "dags" / "vlm_finetune.py"))
    assert again["serialized"] == described["serialized"]  # or Airflow would make a new version of it each time
    assert len(again["serialized"]) < 100_000


REST = """
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.dag_processing.bundles.manager import DagBundlesManager
manager = DagBundlesManager()
manager.sync_bundles_to_db()
(bundle,) = manager.get_all_dag_bundles()
bag = BundleDagBag(bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
assert not bag.import_errors, bag.import_errors
sync_bag_to_db(bag, bundle.name, None)

from airflow.api_fastapi.app import create_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from starlette.testclient import TestClient
answers = {}
with TestClient(create_app(apps="core"), base_url="http://testserver", raise_server_exceptions=False) as client:
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="admin", role="admin"))
    client.headers["Authorization"] = f"Bearer {token}"
    address = "/api/v2/dags/vlm_finetune/dagRuns"
    for name, conf in json.loads(Path(sys.argv[2]).read_text()).items():
        before = client.get(address).json()["total_entries"]
        answer = client.post(address, json={"logical_date": None, "dag_run_id": f"run-{name}", "conf": conf})
        answers[name] = {
            "status": answer.status_code,
            "text": answer.text,
            "made": client.get(address).json()["total_entries"] - before,
        }
    details = client.get("/api/v2/dags/vlm_finetune/details").json()
tell(answers=answers, params=list(details["params"]))
"""


def demo_run() -> dict[str, Any]:
    """The demo's run.json."""
    found: dict[str, Any] = json.loads((PROJECT / "include/configs/runs/demo.json").read_text())
    return found


def model_settings(run: dict[str, Any]) -> dict[str, Any]:
    """The settings of its model block."""
    for block in run["spec"]["flow"]["blocks"]:
        if "model" in block["block"]:
            settings: dict[str, Any] = block["settings"]
            return settings
    raise AssertionError("no model block")


def with_model(path: str, value: Any) -> dict[str, Any]:
    """The demo's run.json with one setting of its model block changed."""
    run = demo_run()
    *above, last = path.split(".")
    place = model_settings(run)
    for key in above:
        place = place.setdefault(key, {})
    place[last] = value
    return {"run": run}


def without_block(word: str) -> dict[str, Any]:
    """The demo's run.json without a block."""
    run = demo_run()
    flow = run["spec"]["flow"]
    flow["blocks"] = [block for block in flow["blocks"] if word not in block["block"]]
    return {"run": run}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "run"),
    "null": ({"run": None}, "is not of type"),
    "text": ({"run": "not a uri"}, "does not match"),
    "list": ({"run": [1]}, "is not of type"),
    "empty": ({"run": {}}, "'spec' is a required property"),
    "no-model": (without_block("model"), "blocks"),
    "epochs": (with_model("hyperparameters.epochs", 0), "less than the minimum of 1"),
    "rate": (with_model("hyperparameters.learningRate", "fast"), "fast"),
    "bool": (with_model("hyperparameters.batchSize", True), "True"),
    "precision": (with_model("compute.precisionType", "Float8"), "Float8"),
    "flat-epochs": ({"run": demo_run(), "epochs": 0}, "epochs: 0 is less than"),
    "flat-rate": ({"run": demo_run(), "learning_rate": "fast"}, "learning_rate"),
    "flat-mode": ({"run": demo_run(), "mode": "QLoRA"}, "QLoRA"),
    "flat-top-p": ({"run": demo_run(), "top_p": 1.5}, "1.5"),
    "other": ({"run": demo_run(), "overrides": {"lora_rank": 0}}, "0 is less than"),
    "other-type": ({"run": demo_run(), "overrides": ["epochs=3"]}, "is not of type"),
}

ACCEPTED: dict[str, dict[str, Any]] = {
    "whole": {"run": demo_run()},
    "address": {"run": "s3://bucket/run.json"},
    "flat": {
        "run": demo_run(),
        "epochs": 2,
        "mode": "SFT",
        "quantization": "none",
        "temperature": 0,
        "dataset": "s3://b/d",
    },
    "nulls": {"run": demo_run(), "epochs": None, "overrides": None},
    "auto": {"run": demo_run(), "overrides": {"epochs": "auto", "lora_rank": 8}},
}


@pytest.fixture(scope="module")
def rest(module_airflow: Any) -> dict[str, Any]:
    """What the REST API answers to each of the requests above."""
    path = module_airflow.folder / "requests.json"
    path.write_text(json.dumps({**{name: conf for name, (conf, _) in REFUSED.items()}, **ACCEPTED}))
    result: dict[str, Any] = module_airflow.run(REST, str(path), timeout=240)
    return result


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_schema_can_tell_is_refused_with_400_before_any_run_exists(rest: dict[str, Any], name: str) -> None:
    answer = rest["answers"][name]
    assert answer["status"] == 400
    assert answer["made"] == 0
    assert REFUSED[name][1] in answer["text"]


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_the_schema_allows_becomes_a_run(rest: dict[str, Any], name: str) -> None:
    assert rest["answers"][name]["status"] == 200, rest["answers"][name]["text"]
    assert rest["answers"][name]["made"] == 1


def test_the_form_is_what_the_api_describes(rest: dict[str, Any], described: dict[str, Any]) -> None:
    assert sorted(rest["params"]) == sorted(described["params"])


LOAD = """
import runpy
told = {}
dag = runpy.run_path(sys.argv[3])["made"]
dag.fileloc = sys.argv[3]
for name, conf in json.loads(Path(sys.argv[2]).read_text()).items():
    print(f"<<<{name}>>>", flush=True)
    run = dag.test(run_conf=conf, mark_success_pattern="^(?!load_run).*")
    task = run.get_task_instance("load_run")
    told[name] = {"state": task.state, "tries": task.try_number, "uri": task.xcom_pull("load_run")}
tell(**told)
"""


@pytest.fixture(scope="module")
def loaded(module_airflow: Any) -> dict[str, Any]:
    """Three runs of the DAG with only its first task for real: one that is well, two that are not."""
    from airtune.datasets.drawn.demo import write_demo_dataset

    data = module_airflow.folder / "data"
    write_demo_dataset(data, train=4, validation=2)
    base = (PROJECT / "include/configs/demo/tiny-vlm").as_uri()
    good = {"run": demo_run(), "dataset": data.as_uri(), "base_model": base, "epochs": 3}
    bad = {**good, "mode": "SFT", "quantization": "NF4", "dataset": "file:///nowhere/at/all"}
    path = module_airflow.folder / "confs.json"
    path.write_text(json.dumps({"good": good, "unknown": {**good, "epoch": 3}, "bad": bad}))
    result: dict[str, Any] = module_airflow.run(LOAD, str(path), str(PROJECT / "dags/vlm_finetune.py"), timeout=300)
    for part in result["output"].split("<<<")[1:]:
        name, _, words = part.partition(">>>")
        result[name]["output"] = words
    return result


def test_load_run_makes_the_run_directory_and_passes_its_uri_on(module_airflow: Any, loaded: dict[str, Any]) -> None:
    told = loaded["good"]
    assert told["state"] == "success", told["output"][-3000:]
    assert told["uri"].startswith(module_airflow.env["AIRTUNE_STORE"] + "/runs/manual__")
    from airtune.stores.run_directory import RunDirectory

    asked = RunDirectory.open(told["uri"]).read_json("run.json")
    assert model_settings(asked)["hyperparameters"]["epochs"] == 3


def test_load_run_refuses_names_that_mean_nothing_and_does_not_try_again(loaded: dict[str, Any]) -> None:
    told = loaded["unknown"]
    assert (told["state"], told["tries"]) == ("failed", 1)
    assert "conf.epoch: is nothing that this DAG knows; did you mean 'epochs'?" in told["output"]


def test_load_run_refuses_what_only_a_comparison_can_tell_and_does_not_try_again(loaded: dict[str, Any]) -> None:
    told = loaded["bad"]
    assert (told["state"], told["tries"]) == ("failed", 1)
    assert "exit code 64: the settings cannot be used" in told["output"]
    assert "SFT" in told["output"]


def test_a_refused_run_leaves_no_run_directory(module_airflow: Any, loaded: dict[str, Any]) -> None:
    runs = [path.name for path in Path(module_airflow.folder, "store", "runs").iterdir()]
    assert runs == [loaded["good"]["uri"].rpartition("/")[2]]
