"""A published bundle is taken from S3 and answers in Datature's own SDK, as many right as in our own evaluation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airtune.datasets.drawn.shapes import draw_scene
from airtune.resolution.intake import load_run
from airtune.runspec.prompts import vi_system_prompt
from airtune.runspec.tasks import Task
from airtune.stores.opening import open_store
from airtune.stores.run_directory import RunDirectory

if TYPE_CHECKING:
    from airtune.embedded.seaweedfs import S3Server

PROJECT = Path(__file__).resolve().parents[2]
BASE = PROJECT / "include" / "configs" / "demo" / "tiny-vlm"

# What a consumer of the bundle writes: nothing of airtune is imported.
CONSUMER = """
import json, os, sys
from pathlib import Path
os.environ["HF_HUB_OFFLINE"] = "1"
from vi.api.resources.models.results import ModelDownloadResult
from vi.inference import ViLoader, ViPredictor
bundle, questions, answers = map(Path, sys.argv[1:])
loader = ViLoader(
    model_meta=ModelDownloadResult(
        model_path=str(bundle / "model_full"),
        adapter_path=str(bundle / "model_adapter"),
        run_config_path=str(bundle / "model_full" / "run.json"),
    ),
    attn_implementation="eager",
    device_map="cpu",
)
predictor = ViPredictor(loader)
said = []
for question in json.loads(questions.read_text()):
    response = predictor(source=question["image"], user_prompt=question["prompt"], stream=False)
    said.append(response.result.answer)
answers.write_text(json.dumps(said))
"""


def write_dataset(root: Path) -> None:
    """Colours that the base knows: what has to be learned, with a prompt of 1,700 tokens, is how to say them."""
    colours = ("red", "green", "blue", "yellow")
    for seed, (split, count) in enumerate((("training", 32), ("validation", 20))):
        for folder in ("images", "annotations"):
            (root / split / folder).mkdir(parents=True)
        for index in range(count):
            scene = draw_scene(seed, index, colours=colours)
            scene.image.save(root / split / "images" / f"{index:03d}.png")
            answer = scene.objects[0].colour
            line = {
                "id": str(index),
                "asset": {"type": "Image", "filename": f"{index:03d}.png", "height": 64, "width": 64},
                "contents": {
                    "type": "Vqa",
                    "interactions": [{"order": 1, "question": "What colour is it?", "answer": answer}],
                },
            }
            (root / split / "annotations" / f"{index:03d}.jsonl").write_text(json.dumps(line) + "\n")


def run_json(dataset: Path, quantization: dict[str, Any]) -> dict[str, Any]:
    blocks = [
        {"block": "system-prompt", "settings": {"systemPrompt": "vi"}, "style": {}},
        {
            "block": "dataset",
            "settings": {"projectKind": "vqa", "airtune": {"source": dataset.as_uri(), "format": "vi"}},
            "style": {},
        },
        {
            "block": "model",
            "settings": {
                "architecture": {"name": "qwen3vl", "size": "2B"},
                "trainingMode": {"type": "LoRA"},
                "quantization": quantization,
                "compute": {"precisionType": "Float32"},
                "hyperparameters": {
                    "epochs": 8,
                    "learningRate": 0.004,
                    "batchSize": 8,
                    "gradientAccumulation": 1,
                    "optimizer": "AdamW",
                },
                "evaluation": {"maxNewTokens": 32, "temperature": 0},
                "airtune": {"baseModel": BASE.as_uri(), "loraRank": 16, "loraAlpha": 32},
            },
            "style": {},
        },
    ]
    flow = {"name": "ViSdk-tiny-v1", "schema": "v1", "tolerations": {}, "settings": {}, "blocks": blocks}
    return {"kind": "Run", "spec": {"flow": flow}}


@pytest.mark.s3
@pytest.mark.training
@pytest.mark.parametrize(
    "quantization",
    [
        {"enabled": True, "type": "NF4"},
        pytest.param({"enabled": True, "type": "FP4"}, marks=pytest.mark.nightly),  # over a minute, and much like NF4
        {"enabled": False},
    ],
    ids=["nf4", "fp4", "unquantised"],
)
def test_a_bundle_trained_on_the_sdks_prompt_answers_as_many_right_in_the_sdk(
    quantization: dict[str, Any], s3_environment: S3Server, tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    write_dataset(dataset)
    run_id = f"vi-sdk-{quantization.get('type', 'none').lower()}"
    run = load_run(run_json(dataset, quantization), {}, run_id, "s3://airtune")
    for stage in ("validate", "resolve", "train", "evaluate", "gate", "publish"):
        done = subprocess.run(
            [sys.executable, "-m", "airtune.cli", stage, run.uri], capture_output=True, text=True, timeout=400
        )
        assert done.returncode == 0, f"{stage}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"

    run = RunDirectory.open(run.uri)
    published = json.loads(run.store.read("model_full/run.json"))
    settings = [block["settings"] for block in published["spec"]["flow"]["blocks"]]
    prompts = [each["systemPrompt"] for each in settings if "systemPrompt" in each]
    assert prompts == [vi_system_prompt(Task.VQA)]

    bundle = tmp_path / "bundle"
    store = open_store(run.uri)
    for folder in ("model_full", "model_adapter"):
        store.download_tree(folder, bundle / folder)
    predictions = [json.loads(line) for line in run.store.read("evaluation/predictions.jsonl").splitlines()]
    ours = [p for p in predictions if p["model"] == "tuned" and p["decoding"] == "greedy"]
    assert len(ours) == 20
    questions = [{"image": str(dataset / p["images"][0]), "prompt": p["prompt"]} for p in ours]
    (tmp_path / "questions.json").write_text(json.dumps(questions))
    done = subprocess.run(
        [sys.executable, "-c", CONSUMER, str(bundle), str(tmp_path / "questions.json"), str(tmp_path / "answers.json")],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = json.loads((tmp_path / "answers.json").read_text())
    truths = [json.loads(p["truth"])["answer"] if isinstance(p["truth"], str) else p["truth"]["answer"] for p in ours]
    right_theirs = sum(said == truth for said, truth in zip(theirs, truths, strict=True))
    right_ours = sum(p["scores"]["exact_match"] for p in ours)
    assert right_ours >= 15, "the model must have learned something for the comparison to mean anything"
    assert right_theirs >= right_ours
