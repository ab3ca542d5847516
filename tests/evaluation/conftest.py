"""Runs that can be evaluated: real pictures, the tiny base model and a LoRA adapter on it, in a file store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airtune.answering.scoring import score
from airtune.configs import configs_root
from airtune.datasets.drawn.shapes import draw_scene
from airtune.datasets.record import Record, write_records
from airtune.evaluation.predictions import Prediction
from airtune.runspec.answers import build_target, parse_answer
from airtune.runspec.resolved import Entry, Resolution, ResolvedRun, Sampling
from airtune.runspec.tasks import Task
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

TINY = configs_root() / "demo" / "tiny-vlm"
QUESTIONS = ("What is this?", "What colour is it?")


def sampling(**changes: Any) -> Sampling:
    settings: dict[str, Any] = {
        "max_new_tokens": 24,
        "top_k": 50,
        "top_p": 0.95,
        "temperature": 1.0,
        "repetition_penalty": 1.05,
    }
    return Sampling(**{**settings, **changes})


def resolved_run(**changes: Any) -> ResolvedRun:
    settings: dict[str, Any] = {
        "name": "Shapes-tiny-LoRA-v1",
        "task": Task.VQA,
        "system_prompt": "Answer in JSON.",
        "system_prompt_source": "user",
        "user_prompt": None,
        "base_model": TINY.as_uri(),
        "architecture": "qwen3vl",
        "size": "2B",
        "parameters": None,
        "training_mode": "LoRA",
        "quantization_enabled": False,
        "quantization_type": "NF4",
        "precision": "Float32",
        "epochs": 1,
        "learning_rate": 1e-4,
        "batch_size": 4,
        "gradient_accumulation": 1,
        "optimizer": "AdamW",
        "learning_rate_schedule": "constant",
        "warmup_ratio": 0.0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": 0,
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
        "sampling": sampling(),
        "dataset_source": "file:///data",
        "dataset_format": "vi",
    }
    return ResolvedRun(**{**settings, **changes})


def resolution(run: ResolvedRun) -> Resolution:
    entries = (
        Entry(path="model.hyperparameters.epochs", value=run.epochs, source="user", reason="as the run.json says"),
        Entry(path="model.hyperparameters.batchSize", value=run.batch_size, source="auto", reason="a small model"),
    )
    return Resolution(run=run, entries=entries, warnings=(), estimate={}, facts={})


def draw_records(root: Path, pictures: int) -> list[Record]:
    """Real pictures of one shape each below ``root``, two questions to each, of different length."""
    root.mkdir(parents=True, exist_ok=True)
    records = []
    for index in range(pictures):
        scene = draw_scene(7, index, side=64)
        key = f"{index:03d}.png"
        scene.image.save(root / key)
        digest = hashlib.sha256((root / key).read_bytes()).hexdigest()
        for question, answer in zip(QUESTIONS, (scene.objects[0].shape, scene.objects[0].colour), strict=True):
            truth = {"answer": answer}
            content = json.dumps([digest, question, truth])
            records.append(
                Record(
                    id=f"{index:03d}-{len(question)}",
                    split="validation",
                    task="vqa",
                    images=(key,),
                    image_digests=(digest,),
                    video=None,
                    prompt=question,
                    target=build_target(Task.VQA, truth).text,
                    truth=json.dumps(truth),
                    group=key,
                    width=64,
                    height=64,
                    digest=hashlib.sha256(content.encode()).hexdigest(),
                    source_file=f"{key}.jsonl",
                    source_line=1,
                )
            )
    return records


@dataclass(frozen=True)
class Prepared:
    """A run up to the end of its training."""

    run: RunDirectory
    records: list[Record]
    resolved: ResolvedRun


@pytest.fixture(scope="session")
def adapter_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter for the tiny base whose second matrices are not zero, so that it changes the answers."""
    import torch

    from airtune.catalog.registry import entry
    from airtune.modeling.adapters import add_adapters, save_adapter
    from airtune.modeling.loading import load_model

    run = resolved_run()
    torch.manual_seed(3)
    model = load_model(TINY, run, entry=entry(run.architecture), for_training=True, device=torch.device("cpu"))
    adapted = add_adapters(model, run, entry(run.architecture))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    folder = tmp_path_factory.mktemp("adapter") / "model_adapter"
    save_adapter(adapted, folder, base_model=run.base_model)
    return folder


@pytest.fixture
def prepare_run(tmp_path: Path, adapter_folder: Path) -> Callable[..., Prepared]:
    """Makes a run directory in which everything is done but the evaluation."""

    def make(run_id: str = "one", *, pictures: int = 6, **changes: Any) -> Prepared:
        import shutil

        resolved = resolved_run(**changes)
        run = RunDirectory.create((tmp_path / "store").as_uri(), run_id, '{"spec": {}}')
        data = tmp_path / "data"
        records = draw_records(data, pictures)
        write_records(run.path(layout.RECORDS), records)
        run.write_json(
            layout.FACTS, {"root_uri": data.as_uri(), "samples": len(records), "evaluation_set_digest": "e" * 64}
        )
        run.write_text(layout.RESOLUTION, resolution(resolved).to_json())
        run.write_json(layout.TRAINING_RESULT, {"steps": 3})
        lines = [{"step": step, "loss": 2.0 / step, "learning_rate": 1e-4} for step in (1, 2, 3)]
        run.write_text(layout.TRAINING_METRICS, "".join(json.dumps(line) + "\n" for line in lines))
        if resolved.training_mode == "LoRA":
            shutil.copytree(adapter_folder, run.path(layout.MODEL_ADAPTER), dirs_exist_ok=True)
        else:
            shutil.copytree(TINY, run.path(layout.MODEL_FULL), dirs_exist_ok=True)
        return Prepared(run, records, resolved)

    return make


def prediction(
    sample: str, model: str, text: str, truth: dict[str, Any], *, task: Task = Task.VQA, **changes: Any
) -> Prediction:
    """A row as the evaluation would write it for this text."""
    answer = parse_answer(task, text)
    fields: dict[str, Any] = {
        "key": hashlib.sha256(f"{sample}{model}{text}{changes}".encode("utf-8", "replace")).hexdigest()[:16],
        "sample": sample,
        "model": model,
        "decoding": "greedy",
        "prompt": "What is this?",
        "images": (f"{sample}.png",),
        "truth": truth,
        "text": text,
        "answer": answer.parsed,
        "problem": answer.problem,
        "scores": score(task, truth, answer),
        "tokens": 5,
        "cut_off": False,
    }
    return Prediction(**{**fields, **changes})


@pytest.fixture(scope="session")
def row() -> Callable[..., Prediction]:
    """Makes a row as the evaluation would write it, see :func:`prediction`."""
    return prediction


@pytest.fixture(scope="session")
def tools() -> SimpleNamespace:
    """The functions of this file, for tests and fixtures that make their own run."""
    return SimpleNamespace(
        draw_records=draw_records, resolved_run=resolved_run, resolution=resolution, sampling=sampling
    )
