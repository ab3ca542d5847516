"""A dataset whose images several tasks look at: the real DAG, up to a validation that refuses the dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airtune.datasets.drawn.demo import write_demo_dataset

pytestmark = pytest.mark.airflow

PROJECT = Path(__file__).resolve().parents[2]
IMAGES, DAMAGED = 32, 4


@pytest.fixture(scope="module")
def ended(module_airflow: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The DAG run's tasks, its output, and the run directory."""
    data = tmp_path_factory.mktemp("data") / "shapes"
    write_demo_dataset(data, train=24, validation=IMAGES - 24)
    for image in sorted(data.glob("training/images/*"))[:DAMAGED]:
        image.write_bytes(image.read_bytes()[:-40])
    run = json.loads((PROJECT / "include/configs/runs/demo.json").read_text())
    dataset, model = run["spec"]["flow"]["blocks"]
    dataset["settings"]["airtune"]["source"] = data.as_uri()
    model["settings"]["airtune"]["baseModel"] = (PROJECT / "include/configs/demo/tiny-vlm").as_uri()
    module_airflow.env["AIRTUNE_IMAGES_PER_TASK"] = "12"
    source = (PROJECT / "dags" / "vlm_finetune.py").read_text().replace("from __future__ import annotations\n", "")
    result: dict[str, Any] = module_airflow.finish(module_airflow.start_dag(source + "\ndag = made\n", {"run": run}))
    (folder,) = Path(module_airflow.env["AIRTUNE_STORE"].removeprefix("file://")).glob("runs/*")
    return {**result, "folder": folder}


def test_each_task_looks_at_its_part(ended: dict[str, Any]) -> None:
    states = {name: task["state"] for name, task in ended["tasks"].items() if name.startswith("inspect_images")}
    assert states == {f"inspect_images[{number}]": "success" for number in range(3)}, ended["output"][-3000:]
    for number in range(1, 4):
        record = json.loads((ended["folder"] / "status" / f"inspect-{number}-of-3.json").read_text())
        assert record["exit_code"] == 0


def test_validation_takes_over_what_they_found_and_decides_from_it(ended: dict[str, Any]) -> None:
    assert ended["tasks"]["validate_dataset"]["state"] == "failed"
    assert ended["tasks"]["finetune"]["state"] == "upstream_failed"
    assert f"{IMAGES} images were looked at ahead" in ended["output"]
    result = json.loads((ended["folder"] / "validation" / "result.json").read_text())
    assert result["set_aside_by_reason"] == {"image-truncated": 2 * DAMAGED}
