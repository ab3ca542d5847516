"""A run of which only the dataset matters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from airtune.stores.run_directory import RunDirectory

_OWN = ("format", "minimumImages", "maximumSetAside", "expectations", "dataDocs")


def dataset_run(store: Path | str, run_id: str, uri: str, task: str = "vqa", **settings: Any) -> RunDirectory:
    """A run directory whose run.json names the dataset: ``dataset_run(store, "a", uri, splitRatio=0.2)``.

    Args:
        store: folder or URI of the store.
        run_id: its name.
        uri: of the dataset.
        task: its ``projectKind``.
        settings: of the dataset block, our own and the platform's; and ``baseModel``.
    """
    own = {key: settings.pop(key) for key in _OWN if key in settings}
    model = {"airtune": {"baseModel": settings.pop("baseModel")}} if "baseModel" in settings else {}
    blocks = [
        {
            "block": "dataset",
            "settings": {"projectKind": task, "airtune": {"source": uri, **own}, **settings},
            "style": {},
        },
        {
            "block": "model",
            "settings": {
                "architecture": {"name": "qwen3vl", "size": "2B"},
                "quantization": {"enabled": False},
                "compute": {},
                "evaluation": {},
                **model,
            },
            "style": {},
        },
    ]
    flow = {"name": "a <run>", "schema": "v1", "tolerations": {}, "settings": {}, "blocks": blocks}
    return RunDirectory.create(
        store if isinstance(store, str) else store.as_uri(), run_id, json.dumps({"spec": {"flow": flow}})
    )
