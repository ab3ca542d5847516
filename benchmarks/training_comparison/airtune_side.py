"""airtune's side: the stage ``train`` as every run has it, and nothing of its own but notes.

``python -m training_comparison.airtune_side RUN_URI OUT.json``. Beside the result it leaves the adapters' first
weights (``OUT.safetensors``) and the samples of each step, which the other sides take over.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from training_comparison.watch import Watch, write


def main(run_uri: str, out: Path) -> None:
    """Trains the run to its end."""
    from airtune.catalog.registry import entry_of
    from airtune.stores import layout
    from airtune.stores.run_directory import RunDirectory
    from airtune.training import __main__ as stage
    from airtune.training.stopping import StopRequest
    from airtune.training.trainer import VisionLanguageTrainer

    noted: dict[str, Any] = {"order": []}

    class Noted(VisionLanguageTrainer):
        """The trainer itself, with somebody watching."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            trained = {name: value for name, value in self.model.named_parameters() if value.requires_grad}
            weights = {name: value.detach().cpu().contiguous() for name, value in trained.items()}
            save_file(weights, out.with_suffix(".safetensors"))
            noted["before"] = time.perf_counter() - loaded[0]
            noted["watch"] = Watch(self.model, entry_of(self.run))
            self.add_callback(noted["watch"])

        def get_batch_samples(self, *args: Any) -> Any:
            found = super().get_batch_samples(*args)
            noted["order"].append(list(self._ids))
            return found

    loaded = _note_when_loaded()
    _replace(VisionLanguageTrainer, Noted)
    stage.train(run_uri, StopRequest())
    directory = RunDirectory.open(run_uri)
    rows = [json.loads(line) for line in directory.store.read(layout.TRAINING_METRICS).splitlines()]
    watch: Watch = noted["watch"]
    write(
        watch.result(losses=[row["loss"] for row in rows], before=noted["before"], order=noted["order"]),
        out,
    )


def _note_when_loaded() -> list[float]:
    """Notes the moment at which the base model stands in memory: from there on it is airtune's own time."""
    from airtune.modeling import loading

    when: list[float] = []
    load_model = loading.load_model

    def load(*args: Any, **kwargs: Any) -> Any:
        model = load_model(*args, **kwargs)
        when.append(time.perf_counter())
        return model

    loading.load_model = load
    return when


def _replace(old: type, new: type) -> None:
    """The stage imports its trainer when it begins: it finds the watched one."""
    from airtune.training import trainer

    assert trainer.VisionLanguageTrainer is old
    trainer.VisionLanguageTrainer = new  # type: ignore[misc]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
