"""The pod as Kubernetes is asked for it: complete, valid, within the restricted standard, and open to templates."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from airtune.errors import SettingsError
from airtune_airflow.operators.pod_request import StagePod, label_value, merged, pod_request
from airtune_airflow.settings import Settings

SETTINGS = Settings.read(
    {
        "AIRTUNE_BACKEND": "kubernetes",
        "AIRTUNE_IMAGE": "registry.example/airtune:1",
        "AIRTUNE_S3_SECRET": "airtune-s3",
        "AIRTUNE_GRACE_SECONDS": "90",
    }
)
TRAIN = StagePod(
    argv=["python", "-m", "airtune.launch", "accelerate", "launch", "-m", "airtune.training", "s3://airtune/runs/one"],
    run_uri="s3://airtune/runs/one",
    stage="train",
    gpus=2,
    accelerated=True,
    deadline_s=7200,
    attempt=3,
)


@pytest.fixture
def pod() -> dict[str, Any]:
    """The request for a training on two GPUs."""
    return pod_request(TRAIN, SETTINGS)


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    """Its one container."""
    (only,) = pod["spec"]["containers"]
    return dict(only)


def validate(pod: dict[str, Any]) -> None:
    named = merged(pod, {"metadata": {"name": "airtune-train-x"}})
    for version in ("1.30", "1.33", "1.35"):
        kubernetes_validate.validate(named, version, strict=True)


def test_the_request_is_valid_for_kubernetes_own_schemas(pod: dict[str, Any]) -> None:
    validate(pod)
    validate(pod_request(replace(TRAIN, stage="resolve", gpus=0, accelerated=False), SETTINGS))


def test_the_pod_is_within_the_restricted_pod_security_standard_field_by_field(
    pod: dict[str, Any], container: dict[str, Any]
) -> None:
    spec = pod["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(spec)
    assert all("emptyDir" in volume for volume in spec["volumes"])
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    own = container["securityContext"]
    assert own["allowPrivilegeEscalation"] is False
    assert own["privileged"] is False
    assert own["runAsNonRoot"] is True
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert "hostPort" not in json.dumps(container)
    assert "initContainers" not in spec


def test_the_root_file_system_is_read_only_and_every_place_that_is_written_is_a_volume(
    pod: dict[str, Any], container: dict[str, Any]
) -> None:
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"/tmp", "/var/airtune", "/dev/shm"}
    places = {each["name"]: each["value"] for each in container["env"] if str(each.get("value", "")).startswith("/")}
    assert {"AIRTUNE_HOME", "HOME", "HF_HOME", "TMPDIR"} <= set(places)
    assert all(any(f"{place}/".startswith(f"{mount}/") for mount in mounts) for place in places.values())


def test_the_pod_has_no_service_account_token(pod: dict[str, Any]) -> None:
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_gpus_are_a_limit_and_shared_memory_is_large(pod: dict[str, Any], container: dict[str, Any]) -> None:
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    (memory,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "shared-memory"]
    assert memory["emptyDir"]["medium"] == "Memory"
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["spec"]["tolerations"]


def test_a_stage_without_a_gpu_asks_for_none() -> None:
    pod = pod_request(replace(TRAIN, gpus=0, accelerated=False), SETTINGS)
    assert "nvidia.com" not in json.dumps(pod)
    assert "/dev/shm" not in json.dumps(pod)


def test_the_command_runs_under_the_guard_which_stops_before_kubernetes_kills(
    pod: dict[str, Any], container: dict[str, Any]
) -> None:
    assert container["command"] == ["python", "-m", "airtune.guard", "--grace", "90", "--"]
    assert container["args"] == TRAIN.argv
    assert pod["spec"]["terminationGracePeriodSeconds"] > 90


def test_kubernetes_itself_ends_a_pod_that_nobody_watches_any_more(pod: dict[str, Any]) -> None:
    assert pod["spec"]["activeDeadlineSeconds"] == 7200
    assert pod["spec"]["restartPolicy"] == "Never"


def test_the_message_of_a_failure_reaches_kubernetes(container: dict[str, Any]) -> None:
    assert container["terminationMessagePath"] == "/dev/termination-log"
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_secrets_are_named_and_never_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-the-worker")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-worker")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-of-the-worker")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3.example:8333")
    monkeypatch.setenv("AIRTUNE_STORE", "s3://airtune")
    pod = pod_request(TRAIN, SETTINGS)
    assert "of-the-worker" not in json.dumps(pod)
    (container,) = pod["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "airtune-s3"}}]
    assert {"name": "AIRTUNE_STORE", "value": "s3://airtune"} in container["env"]
    assert {"name": "AWS_ENDPOINT_URL_S3", "value": "http://s3.example:8333"} in container["env"]


def test_the_run_the_stage_and_the_try_are_labels_and_variables(pod: dict[str, Any], container: dict[str, Any]) -> None:
    assert pod["metadata"]["labels"]["airtune/run-id"] == "one"
    assert pod["metadata"]["labels"]["airtune/stage"] == "train"
    assert pod["metadata"]["annotations"]["airtune/run-uri"] == "s3://airtune/runs/one"
    assert {"name": "AIRTUNE_RUN_ID", "value": "one"} in container["env"]
    assert {"name": "AIRTUNE_TRY", "value": "3"} in container["env"]
    assert {"name": "AIRTUNE_IMAGE", "value": container["image"]} in container["env"]  # for the run's manifest


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_platform_engineers_template_lies_over_ours_and_changes_only_what_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://from-the-worker:1")
    template = """
        spec:
          hostNetwork: true
          dnsPolicy: ClusterFirstWithHostNet
          nodeSelector: {pool: training}
          runtimeClassName: nvidia
          imagePullSecrets: [{name: registry}]
          tolerations: [{key: dedicated, operator: Equal, value: gpu, effect: NoSchedule}]
          volumes: [{name: home, emptyDir: null, persistentVolumeClaim: {claimName: cache}}]
          containers:
            - name: base
              securityContext: {readOnlyRootFilesystem: false}
              resources: {limits: {memory: 64Gi}}
              env: [{name: AWS_ENDPOINT_URL_S3, value: "http://inside:8333"}, {name: HTTPS_PROXY, value: "http://p:1"}]
            - name: sidecar
              image: registry.example/sidecar:1
    """
    settings = replace(SETTINGS, pod_template=write(tmp_path / "pod.yaml", template))
    pod = pod_request(TRAIN, settings)
    validate(pod)
    spec = pod["spec"]
    assert spec["hostNetwork"] is True
    assert spec["nodeSelector"] == {"pool": "training"}
    assert [each["key"] for each in spec["tolerations"]] == ["dedicated"]
    assert {"name": "home", "persistentVolumeClaim": {"claimName": "cache"}} in spec["volumes"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    base, sidecar = spec["containers"]
    assert base["securityContext"]["readOnlyRootFilesystem"] is False
    assert base["securityContext"]["allowPrivilegeEscalation"] is False
    assert base["resources"]["limits"] == {"memory": "64Gi", "nvidia.com/gpu": "2"}
    endpoints = [each["value"] for each in base["env"] if each["name"] == "AWS_ENDPOINT_URL_S3"]
    assert endpoints == ["http://inside:8333"]
    assert sidecar == {"name": "sidecar", "image": "registry.example/sidecar:1"}


def test_a_template_for_gpu_pods_leaves_the_other_stages_alone(tmp_path: Path) -> None:
    template = write(tmp_path / "gpu.yaml", "spec: {nodeSelector: {gpu: h200}}")
    settings = replace(SETTINGS, gpu_pod_template=template)
    assert pod_request(TRAIN, settings)["spec"]["nodeSelector"] == {"gpu": "h200"}
    assert "nodeSelector" not in pod_request(replace(TRAIN, accelerated=False), settings)["spec"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is not YAML"),
        ("- a list", "is not the template of a pod"),
        ("kind: Deployment", "is not the template of a pod"),
        ("spec: {containers: [{image: x}]}", "spec.containers is not a list of items that each have a name"),
        ("spec: {volumes: {a: b}}", "spec.volumes is not a list"),
        ("spec: {containers: [{name: base, env: [{value: x}]}]}", "spec.containers[0].env is not a list"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_with_its_name(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path / "bad.yaml", text)
    with pytest.raises(SettingsError) as caught:
        pod_request(TRAIN, replace(SETTINGS, pod_template=path))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_template_that_is_not_there_is_refused() -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        pod_request(TRAIN, replace(SETTINGS, pod_template=Path("/nowhere/pod.yaml")))


def test_an_image_in_the_template_will_do_but_none_at_all_is_refused(tmp_path: Path) -> None:
    template = write(tmp_path / "pod.yaml", "spec: {containers: [{name: base, image: registry.example/own:2}]}")
    pod = pod_request(TRAIN, replace(SETTINGS, image=None, pod_template=template))
    assert pod["spec"]["containers"][0]["image"] == "registry.example/own:2"
    with pytest.raises(SettingsError, match="AIRTUNE_IMAGE"):
        pod_request(TRAIN, replace(SETTINGS, image=None))


@pytest.mark.parametrize("text", ["manual__2026-11-22T10:00:00+00:00", "a" * 100, "-odd-", "ü", "._", "x" * 63, "fine"])
def test_labels_are_valid_and_never_meet(text: str) -> None:
    value = label_value(text)
    kubernetes_validate.validate(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"labels": {"a": value}},
            "spec": {"containers": [{"name": "x"}]},
        },
        "1.33",
    )
    assert 0 < len(value) <= 63
    assert value[0].isalnum()
    assert value[-1].isalnum()
    assert value != label_value(f"{text}.")


def test_the_shipped_templates_are_pods_that_kubernetes_understands() -> None:
    folder = Path(__file__).resolve().parents[2] / "include/configs/kubernetes"
    base = yaml.safe_load((folder / "pod.yaml").read_text())
    over = yaml.safe_load((folder / "gpu-pod.yaml").read_text())
    validate(base)
    validate(merged(base, over))


BUILD = """
from airflow.sdk import DAG
from kubernetes.client import ApiClient
from airtune_airflow.operators.accelerate_pod import AcceleratePodOperator
from airtune_airflow.operators.kubernetes_pod import StagePodRunner
from airtune_airflow.operators.pod_request import StagePod
from airtune_airflow.settings import Settings

operator = AcceleratePodOperator(task_id="finetune", stage="train", run_uri="s3://airtune/runs/one")
argv = operator.argv(gpus=1)
stage = StagePod(argv, operator.run_uri, "train", 1, True, 60, 1)
runner = StagePodRunner(task_id="finetune", stage=stage, settings=Settings.read())
made = ApiClient().sanitize_for_serialization(runner.build_pod_request_obj(dry_run=True))
tell(pod=made, argv=argv, attributes={"log_pod_spec_on_failure": runner.log_pod_spec_on_failure,
     "log_events_on_failure": runner.log_events_on_failure, "durable": runner.durable,
     "on_finish_action": runner.on_finish_action.value, "do_xcom_push": runner.do_xcom_push})
"""


@pytest.mark.airflow
def test_what_airflows_provider_sends_is_what_was_built_and_nothing_of_it_is_lost(airflow: Any) -> None:
    airflow.env |= {"AIRTUNE_BACKEND": "kubernetes", "AIRTUNE_IMAGE": "registry.example/airtune:1"}
    airflow.env |= {"AIRTUNE_S3_SECRET": "airtune-s3", "AIRTUNE_NAMESPACE": "training"}
    told = airflow.run(BUILD)
    pod = told["pod"]
    validate(pod)
    stage = replace(TRAIN, argv=told["argv"], gpus=1, deadline_s=60, attempt=1)
    asked = pod_request(stage, replace(SETTINGS, grace=Settings.read({}).grace))
    ours, sent = asked["spec"], pod["spec"]
    own, given = ours.pop("containers")[0], sent.pop("containers")[0]
    for part, whole in ((ours, sent), (own, given)):
        lost = {
            key: value for key, value in part.items() if key not in ("env", "resources") and whole.get(key) != value
        }
        assert lost == {}
    assert given["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    # The store is the worker's own, passed on; everything else of our environment is there too.
    assert {each["name"] for each in own["env"]} <= {each["name"] for each in given["env"]}
    assert pod["metadata"]["namespace"] == "training"
    assert told["attributes"] == {
        "log_pod_spec_on_failure": False,
        "log_events_on_failure": True,
        "durable": True,
        "on_finish_action": "delete_pod",
        "do_xcom_push": False,
    }
    assert given["args"][-2:] == ["airtune.training", "s3://airtune/runs/one"]
