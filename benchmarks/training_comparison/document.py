"""The run.json of a benchmark: a dataset, a model with random weights, a system prompt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training_comparison.models import MODELS


def run_document(
    *,
    task: str,
    data: Path,
    base: Path,
    prompt: str,
    model: str,
    mode: str,
    precision: str,
    quantization: str,
    knobs: Mapping[str, Any],
    own: Mapping[str, Any],
) -> dict[str, Any]:
    """What a person would write.

    Args:
        task: of the dataset.
        data: its folder.
        base: the folder of the base model.
        prompt: the system prompt.
        model: a key of :data:`training_comparison.models.MODELS`.
        mode: ``LoRA`` or ``SFT``.
        precision: of the computation.
        quantization: ``NF4``, or empty for none.
        knobs: the block ``hyperparameters``, without the learning rate.
        own: airtune's own settings of the model, without the base.
    """
    settings = {
        "architecture": {"name": MODELS[model].architecture, "size": "random"},
        "trainingMode": {"type": mode},
        "quantization": {"enabled": bool(quantization), "type": quantization or "NF4"},
        "compute": {"precisionType": precision},
        "hyperparameters": {"learningRate": 1e-4, **knobs},
        "airtune": {"baseModel": base.as_uri(), "earlyStoppingPatience": 0, "checkpointEveryMinutes": 0, **own},
    }
    dataset = {"projectKind": task, "airtune": {"source": data.as_uri(), "minimumImages": 1}}
    blocks = [
        {"block": "dataset", "settings": dataset, "style": {}},
        {"block": "model", "settings": settings, "style": {}},
        {"block": "system-prompt", "settings": {"systemPrompt": prompt}, "style": {}},
    ]
    flow = {"name": "benchmark-v1", "schema": "v1", "tolerations": {}, "settings": {}, "blocks": blocks}
    return {"kind": "Run", "spec": {"flow": flow}}
