"""Runs from a dataset's lines to the answers: validated, resolved, trained and evaluated in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training_runs import TINY

from airtune.datasets.record import Record, read_records
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory


def run_document(name: str, data: Path, task: str, *, batch_size: int, max_new_tokens: int) -> dict[str, Any]:
    """A run.json of the tiny base on a folder: LoRA in float32, four epochs, greedy answers."""
    model = {
        "architecture": {"name": "qwen3vl", "size": "tiny"},
        "trainingMode": {"type": "LoRA"},
        "quantization": {"enabled": False, "type": "NF4"},
        "compute": {"precisionType": "Float32"},
        "hyperparameters": {"epochs": 4, "learningRate": 3e-3, "batchSize": batch_size, "gradientAccumulation": 1},
        "evaluation": {"maxNewTokens": max_new_tokens, "temperature": 0.0},
        "airtune": {"baseModel": TINY.as_uri(), "loraDropout": 0.0},
    }
    dataset = {"projectKind": task, "airtune": {"source": data.as_uri(), "minimumImages": 1}}
    blocks = [{"block": block, "settings": settings, "style": {}} for block, settings in
              (("dataset", dataset), ("model", model))]  # fmt: skip
    flow = {"name": name, "schema": "v1", "tolerations": {}, "settings": {}, "blocks": blocks}
    return {"kind": "Run", "spec": {"flow": flow}}


def run_whole(document: dict[str, Any], root_uri: str) -> RunDirectory:
    """All stages up to the evaluation; the run directory."""
    from airtune.datasets.stage import validate
    from airtune.evaluation.stage import evaluate
    from airtune.resolution.intake import load_run
    from airtune.resolution.stage import resolve
    from airtune.training.__main__ import train
    from airtune.training.stopping import StopRequest

    directory = load_run(document, None, "run", root_uri)
    validate(directory)
    resolve(directory)
    train(directory.uri, StopRequest())
    evaluate(directory)
    return directory


def records_of(run: RunDirectory) -> list[Record]:
    """Its samples."""
    return read_records(run.path(layout.RECORDS))


def reading_of(run: RunDirectory) -> tuple[Any, Any, Any]:
    """The encoder with which it was trained, its pictures, and its settings."""
    from airtune.datasets.pictures.images import Images
    from airtune.modeling.encoding import Encoder
    from airtune.modeling.loading import load_processor
    from airtune.runspec.resolved import Resolution

    resolved = Resolution.from_json(run.store.read(layout.RESOLUTION)).run
    processor = load_processor(TINY, resolved)
    images = Images(run.read_json(layout.FACTS)["root_uri"])
    return Encoder(processor, {processor.tokenizer.eos_token_id}), images, resolved


def trained_lengths(run: RunDirectory) -> list[int]:
    """Tokens of each training sample, all of it read and encoded."""
    encoder, images, resolved = reading_of(run)
    return [
        encoder.encode(resolved.system_prompt, record.prompt, images.load_all(record), record.target).length
        for record in records_of(run)
        if record.split == "train"
    ]


def foretold_lengths(run: RunDirectory) -> dict[str, Any]:
    """What the resolution has said of them."""
    found: dict[str, Any] = json.loads(run.store.read(layout.RESOLUTION))["estimate"]["lengths"]
    return found
