"""A bundle answers as the trained model did, from its own files alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from airtune.configs import configs_root  # noqa: E402
from airtune.errors import DefectError, SettingsError  # noqa: E402
from airtune.evaluation.predictions import read_predictions  # noqa: E402
from airtune.evaluation.reload import answer_from_bundle  # noqa: E402
from airtune.evaluation.stage import evaluate  # noqa: E402
from airtune.stores import layout  # noqa: E402

pytestmark = pytest.mark.training

TINY = configs_root() / "demo" / "tiny-vlm"


def published(**settings: Any) -> dict[str, Any]:
    """A published run.json that says what tests/evaluation/conftest.py resolved."""
    model = {
        "architecture": {"name": "qwen3vl", "size": "2B"},
        "trainingMode": {"type": "LoRA"},
        "quantization": {"enabled": True, "type": "FP4"},
        "compute": {"precisionType": "Float32"},
        "hyperparameters": {},
        "evaluation": {"maxNewTokens": 24, "max_new_tokens": 24, "repetitionPenalty": 1.05, "repetition_penalty": 1.05},
    }
    blocks = [
        {"block": "system-prompt", "settings": {"systemPrompt": "Answer in JSON."}, "style": {}},
        {"block": "dataset", "settings": {"projectKind": "vqa"}, "style": {}},
        {"block": "model", "settings": {**model, **settings}, "style": {}},
    ]
    flow = {"name": "n", "schema": "v1", "tolerations": {}, "settings": {}, "blocks": blocks, "trainingProject": None}
    return {"kind": "Run", "spec": {"flow": flow}}


@pytest.fixture
def bundle(tmp_path: Path, adapter_folder: Path) -> Path:
    folder = tmp_path / "bundle"
    shutil.copytree(TINY, folder / layout.MODEL_FULL)
    shutil.copytree(adapter_folder, folder / layout.MODEL_ADAPTER)
    (folder / layout.MODEL_FULL / layout.RUN_JSON).write_text(json.dumps(published()))
    return folder


@pytest.fixture
def evaluated(prepare_run: Callable[..., Any]) -> Any:
    """A run whose answers are known; after that only its dataset is left."""
    prepared = prepare_run(pictures=10, quantization_enabled=True, quantization_type="FP4")
    evaluate(prepared.run)
    answers = {
        row.sample: row.text
        for row in read_predictions(prepared.run.path(layout.PREDICTIONS))
        if (row.model, row.decoding) == ("tuned", "greedy")
    }
    for name in (layout.RESOLUTION, layout.EVALUATION, layout.MODEL_ADAPTER, layout.TRAINING):
        path = prepared.run.path(name)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return prepared.run.workspace, answers


def test_a_fresh_process_gives_the_trained_models_answers_from_the_bundle_alone(
    bundle: Path, evaluated: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    workspace, answers = evaluated
    out = tmp_path / "answers.json"
    command = [sys.executable, "-m", "airtune.evaluation.reload", str(bundle), str(out), "--run", str(workspace)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert process.returncode == 0, process.stderr
    found = json.loads(out.read_text())
    assert found["answers"] == answers
    assert found["samples"] == 20
    assert found["settings"]["quantization"] == "FP4"


def test_the_run_json_and_the_weights_in_the_bundle_decide(
    bundle: Path, evaluated: tuple[Path, dict[str, str]]
) -> None:
    workspace, answers = evaluated
    assert answer_from_bundle(bundle, workspace)["answers"] == answers
    run_json = bundle / layout.MODEL_FULL / layout.RUN_JSON
    run_json.write_text(json.dumps(published(quantization={"enabled": False, "type": "FP4"})))
    assert answer_from_bundle(bundle, workspace)["answers"] != answers
    run_json.write_text(json.dumps(published()))
    shutil.rmtree(bundle / layout.MODEL_ADAPTER)
    assert answer_from_bundle(bundle, workspace)["answers"] != answers


def test_a_published_run_json_that_leaves_things_open_is_a_defect(bundle: Path, tmp_path: Path) -> None:
    run_json = bundle / layout.MODEL_FULL / layout.RUN_JSON
    run_json.write_text(json.dumps(published(compute={}, evaluation={})))
    with pytest.raises(DefectError) as raised:
        answer_from_bundle(bundle, tmp_path)
    assert [problem.where for problem in raised.value.problems] == [
        f"model_full/run.json: {name}"
        for name in ("compute.precisionType", "evaluation.maxNewTokens", "evaluation.repetitionPenalty")
    ]


def test_a_bundle_with_missing_weights_is_refused_in_words(
    bundle: Path, evaluated: tuple[Path, dict[str, str]]
) -> None:
    (bundle / layout.MODEL_ADAPTER / "adapter_model.safetensors").unlink()
    with pytest.raises(SettingsError, match="adapter_model"):
        answer_from_bundle(bundle, evaluated[0])
