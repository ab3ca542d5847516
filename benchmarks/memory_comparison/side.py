"""One run, predicted by the stage ``resolve`` and measured while the stage ``train`` trains it.

``python -m memory_comparison.side CASES.json FOLDER OUT.json``; what it makes of a model and of pictures lies in FOLDER
for the runs that follow.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from training_comparison import material
from training_comparison.case import Case
from training_comparison.document import run_document
from training_comparison.models import make_base_model

STEPS = 2
ACCUMULATION = 2


def main(cases_file: Path, folder: Path, out: Path) -> None:
    """Predicts and trains each case, and writes both figures of all."""
    cases = json.loads(cases_file.read_text(encoding="utf-8"))
    rows = [predicted_and_measured(case, folder, f"{out.stem}-{number}") for number, case in enumerate(cases)]
    out.write_text(json.dumps(rows), encoding="utf-8")


def predicted_and_measured(case: dict[str, Any], folder: Path, name: str) -> dict[str, Any]:
    """One case."""
    directory = make_run(case, folder, name)
    resolution = json.loads(directory.store.read("resolution.json"))
    measured = train(directory.uri)
    gc.collect()
    return {
        **case,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "tokens": resolution["estimate"]["epoch"]["largest"]["tokens"],
        "predicted_bytes": resolution["estimate"]["memory"]["allocated"],
        "predicted": resolution["estimate"]["memory"],
        **measured,
    }


def make_run(case: dict[str, Any], folder: Path, name: str) -> Any:
    """A run directory, validated and resolved."""
    from airtune.datasets.stage import validate
    from airtune.resolution.intake import load_run
    from airtune.resolution.stage import resolve

    base, data = folder / case["model"], folder / f"data-{case['batch']}"
    made = Case("vqa, 4 questions", 1, STEPS * ACCUMULATION, case["batch"], case["model"], side=case["side"])
    if not base.exists():
        make_base_model(case["model"], 0, base)
    if not data.exists():
        material.write_dataset(made, data)
    from airtune.modeling.loading import load_processor

    prompt = material.system_prompt(load_processor(base), case["system_tokens"])
    directory = load_run(_document(case, base, data, prompt), None, name, (folder / "store").as_uri())
    validate(directory, tell=lambda _: None)
    resolve(directory)
    return directory


def _document(case: dict[str, Any], base: Path, data: Path, prompt: str) -> dict[str, Any]:
    return run_document(
        task="vqa",
        data=data,
        base=base,
        prompt=prompt,
        model=case["model"],
        mode=case["mode"],
        precision=case["precision"],
        quantization=case.get("quantization", ""),
        knobs={"epochs": 1, "batchSize": case["batch"], "gradientAccumulation": ACCUMULATION},
        own={
            "loraDropout": case["dropout"],
            "gradientCheckpointing": case["checkpointing"],
            "ignoreEstimate": True,
        },
    )


def train(run_uri: str) -> dict[str, Any]:
    """Trains, with somebody watching the loop's memory."""
    from airtune.training import __main__ as stage
    from airtune.training import trainer
    from airtune.training.stopping import StopRequest

    noted: dict[str, Any] = {}
    own = trainer.VisionLanguageTrainer

    class Watched(own):  # type: ignore[misc, valid-type]
        """The trainer itself, watched."""

        def fit(self, *args: Any) -> None:
            for index in range(len(self.train_dataset)):
                self.train_dataset.__getitem__(
                    index
                )  # decoded pictures wait in the machine's memory, not in the device's
            noted.update(watched(self.model, lambda: super(Watched, self).fit(*args)))

    trainer.VisionLanguageTrainer = Watched  # type: ignore[misc]
    try:
        stage.train(run_uri, StopRequest())
    finally:
        trainer.VisionLanguageTrainer = own  # type: ignore[misc]
    return noted


def watched(model: Any, work: Callable[[], None]) -> dict[str, Any]:
    """Does the work; returns the most that was allocated, weights included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return {"measured_bytes": int(torch.cuda.max_memory_allocated()), "weights_bytes": int(before)}
    weights = sum({storage.data_ptr(): storage.nbytes() for storage in _storages(model)}.values())
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    total = highest = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        total += event.nbytes()
        highest = max(highest, total)
    return {"measured_bytes": weights + highest, "weights_bytes": weights}


def _storages(model: Any) -> Iterator[Any]:
    for tensor in (*model.parameters(), *model.buffers()):
        yield tensor.untyped_storage()
        state = getattr(tensor, "quant_state", None)
        if state is not None:
            second = state.state2
            for each in (state.absmax, state.code, state.offset, *((second.absmax, second.code) if second else ())):
                yield each.untyped_storage()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
