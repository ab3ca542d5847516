"""Runs as training, evaluation and the gate leave them: real files, the real tiny base, a real adapter."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from airtune.configs import configs_root
from airtune.datasets.drawn.shapes import draw_scene
from airtune.datasets.record import Record, write_records
from airtune.runspec.resolved import Resolution, ResolvedRun
from airtune.stores import RunDirectory, layout

TINY = configs_root() / "demo" / "tiny-vlm"
EXAMPLE = {
    "platformKey": {"kept": True},
    "spec": {
        "flow": {
            "name": "Shapes-tiny-LoRA-v1",
            "schema": "v1",
            "tolerations": {},
            "settings": {},
            "blocks": [
                {"block": "dataset", "settings": {"projectKind": "vqa"}, "style": {}},
                {
                    "block": "model",
                    "settings": {"architecture": {"name": "Qwen3-VL", "size": "2B"}, "evaluation": {"topP": 0.95}},
                    "style": {},
                },
            ],
        }
    },
}

MakeRun = Callable[..., RunDirectory]


def answers_from_predictions(bundle: Path, workspace: Path) -> Mapping[str, str]:
    """What the trained model said, as if the bundle had said it: for tests of everything around the reload."""
    assert (bundle / layout.MODEL_FULL / layout.RUN_JSON).is_file()
    rows = (json.loads(line) for line in (workspace / layout.PREDICTIONS).read_text().splitlines())
    return {row["sample"]: row["text"] for row in rows if row["model"] == "tuned" and row["decoding"] == "greedy"}


@pytest.fixture
def echo() -> Callable[[Path, Path], Mapping[str, str]]:
    return answers_from_predictions


@pytest.fixture
def s3_root(s3_environment: object) -> str:
    """An empty store root on the session's S3 server."""
    return f"s3://airtune/{secrets.token_hex(6)}"


@pytest.fixture
def file_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store root on disk."""
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    return (tmp_path / "store").as_uri()


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.s3)])
def any_root(request: pytest.FixtureRequest) -> str:
    """An empty store root of each kind."""
    return str(request.getfixturevalue(f"{request.param}_root"))


@pytest.fixture(scope="session")
def large_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base in two shards of 20 MB each, large enough to go in parts and to be interrupted."""
    folder = tmp_path_factory.mktemp("base") / "large"
    shutil.copytree(TINY, folder)
    (folder / "model.safetensors").unlink()
    random = np.random.default_rng(1)
    names = [f"model-{number:05}-of-00002.safetensors" for number in (1, 2)]
    weight_map = {}
    for name in names:
        tensors = {f"{name[:11]}.{row}": random.random(1_700_000, dtype=np.float32) for row in range(3)}
        save_file(tensors, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, name)
    index = {"metadata": {"total_size": 40_800_000}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Makes a run that is ready to be published."""

    def make(
        root_uri: str,
        run_id: str = "run-1",
        *,
        base: str = TINY.as_uri(),
        decision: str = "promote",
        value: float = 0.9,
        champion_run: str | None = None,
        texts: Mapping[str, str] | None = None,
        **changes: Any,
    ) -> RunDirectory:
        resolved = _resolved(base_model=base, **changes)
        run = RunDirectory.create(root_uri, run_id, json.dumps(EXAMPLE))
        data = tmp_path / "data"
        records = _draw(data)
        said = {record.id: (texts or {}).get(record.id, record.target) for record in records}
        write_records(run.path(layout.RECORDS), records)
        run.path(layout.FINGERPRINT).write_text("f" * 64)
        facts = {"root_uri": data.as_uri(), "fingerprint": "f" * 64, "evaluation_set_digest": "e" * 64}
        run.path(layout.FACTS).write_text(json.dumps(facts))
        run.path(layout.VALIDATION_RESULT).write_text("{}")
        resolution = Resolution(run=resolved, entries=(), warnings=(), estimate={}, facts={})
        run.path(layout.RESOLUTION).write_text(resolution.to_json())
        run.path(layout.TRAINING_METRICS).write_text('{"step": 1, "loss": 2.0}\n')
        run.path(layout.TRAINING_RESULT).write_text('{"steps": 1}')
        run.path(f"{layout.checkpoint(1)}/state").write_text("not published")
        run.path(f"{layout.checkpoint(1)}/COMPLETE").write_text("{}")
        rows = [
            {"sample": sample, "model": model, "decoding": decoding, "text": text}
            for sample, text in said.items()
            for model, decoding in (("base", "greedy"), ("tuned", "greedy"), ("tuned", "sampled"))
        ]
        run.path(layout.PREDICTIONS).write_text("".join(json.dumps(row) + "\n" for row in rows))
        scores = {
            "primary": "exact_match",
            "evaluation_set_digest": "e" * 64,
            "tuned": {"greedy": {"exact_match": value}},
        }
        run.path(layout.METRICS).write_text(json.dumps(scores))
        gate = {
            "decision": decision, "reason": "as the test says", "metric": "exact_match", "challenger": value,
            "champion": None, "champion_run": champion_run, "same_evaluation_set": None,
        }  # fmt: skip
        run.path(layout.GATE).write_text(json.dumps(gate))
        if resolved.training_mode == "LoRA":
            write_adapter(run.workspace / layout.MODEL_ADAPTER)
        else:
            full = run.workspace / layout.MODEL_FULL
            full.mkdir(parents=True, exist_ok=True)
            for name in ("config.json", "model.safetensors"):  # the least that training can leave
                shutil.copy(TINY / name, full / name)
        run.push(
            layout.DATASET, layout.VALIDATION, layout.RESOLUTION, layout.TRAINING, layout.CHECKPOINTS,
            layout.EVALUATION, layout.MODEL_ADAPTER if resolved.training_mode == "LoRA" else layout.MODEL_FULL,
        )  # fmt: skip
        return run

    return make


def write_adapter(folder: Path, scale: float = 0.05) -> None:
    """A LoRA adapter of rank 4 on the tiny base's attention, in PEFT's format."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    tensors = {}
    for layer in range(2):
        for name, width in (("q_proj", 128), ("v_proj", 64)):
            at = f"base_model.model.model.language_model.layers.{layer}.self_attn.{name}"
            tensors[f"{at}.lora_A.weight"] = random.normal(size=(4, 64)).astype(np.float32)
            tensors[f"{at}.lora_B.weight"] = (scale * random.normal(size=(width, 4))).astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "bias": "none",
        "inference_mode": True, "base_model_name_or_path": None,
        "target_modules": r".*language_model\.layers\.\d+\.self_attn\.(q_proj|v_proj)",
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))


def _draw(root: Path) -> list[Record]:
    root.mkdir(parents=True, exist_ok=True)
    records = []
    for index in range(4):
        scene = draw_scene(7, index, side=64)
        key = f"{index:03d}.png"
        scene.image.save(root / key)
        digest = hashlib.sha256((root / key).read_bytes()).hexdigest()
        answer = scene.objects[0].shape
        records.append(
            Record(
                id=f"sample-{index}", split="validation", task="vqa", images=(key,), image_digests=(digest,),
                video=None, prompt="What is this?", target=f'{{"vqa":{{"answer":"{answer}"}}}}',
                truth=json.dumps({"answer": answer}), group=key, width=64, height=64, digest=digest,
                source_file="a.jsonl", source_line=index + 1,
            )
        )  # fmt: skip
    return records


def _resolved(**changes: Any) -> ResolvedRun:
    sampling = {
        "max_new_tokens": 16, "top_k": 50, "top_p": 0.9, "temperature": 0.7, "repetition_penalty": 1.05, "seed": 3,
    }  # fmt: skip
    settings: dict[str, Any] = {
        "name": "Shapes-tiny-LoRA-v1",
        "task": "vqa",
        "system_prompt": "Answer in JSON.",
        "system_prompt_source": "user",
        "user_prompt": None,
        "architecture": "qwen3vl",
        "size": "2B",
        "parameters": None,
        "training_mode": "LoRA",
        "quantization_enabled": False,
        "quantization_type": "NF4",
        "precision": "Float32",
        "epochs": 3,
        "learning_rate": 1e-4,
        "batch_size": 4,
        "gradient_accumulation": 1,
        "optimizer": "AdamW",
        "learning_rate_schedule": "constant",
        "warmup_ratio": 0.0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": 11,
        "early_stopping_patience": None,
        "lora_rank": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "max_pixels": None,
        "max_sequence_length": None,
        "checkpoint_every_steps": None,
        "checkpoint_every_minutes": None,
        "checkpoints_kept": 1,
        "gradient_checkpointing": False,
        "sampling": sampling,
        "dataset_source": "file:///data",
        "dataset_format": "vi",
    }
    return ResolvedRun.model_validate({**settings, **changes})
