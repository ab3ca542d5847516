"""One cell of the matrix of architectures: a tiny model trained by the real entry point, saved, and asked afterwards.

``run_cell`` trains in this process and writes down what the trained model says; ``python architecture_cells.py FOLDER``
(a fresh process) loads what was saved by every cell below a folder and writes down the same, so that the two can be
held against each other.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from airtune.catalog.checking import check
from airtune.catalog.registry import entry_of, find
from airtune.datasets.record import Record
from airtune.errors import AirtuneError
from airtune.runspec.document import RunDocument
from airtune.runspec.resolved import Resolution
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

Mode = Literal["LoRA", "SFT", "NF4", "FP4"]
MODES: Final[tuple[Mode, ...]] = ("LoRA", "SFT", "NF4", "FP4")
"""NF4 and FP4 are LoRA on weights in 4 bit."""

_RUN: Final = Path(__file__).parents[1] / "runspec" / "examples" / "small.json"
_SAID: Final = "said.safetensors"
_AGAIN: Final = "said-again.safetensors"


@dataclass
class Cell:
    """What one cell showed.

    Attributes:
        key: of the tiny model, see :mod:`tiny_models`.
        mode: LoRA, SFT, NF4 or FP4.
        refused: airtune's words, when it refused; everything else is then empty.
        first_loss: before the first update.
        last_loss: at the last step.
        selfcheck: the content of ``training/selfcheck.json``.
        answer: what the trained model generates for the first sample, decoded.
        folder: the run's workspace.
        log: the lines of the run's log.
    """

    key: str
    mode: Mode
    refused: str | None = None
    first_loss: float = 0.0
    last_loss: float = 0.0
    selfcheck: dict[str, Any] = field(default_factory=dict)
    answer: str = ""
    folder: str = ""
    log: str = ""


def settings(mode: Mode) -> dict[str, Any]:
    """The settings of a resolved run in this mode."""
    if mode == "SFT":
        return {"training_mode": "SFT", "learning_rate": 2e-3}
    if mode == "LoRA":
        return {"training_mode": "LoRA", "learning_rate": 2e-2}
    return {"training_mode": "LoRA", "learning_rate": 2e-2, "quantization_enabled": True, "quantization_type": mode}


def refusal(architecture: str, mode: Mode) -> str | None:
    """What the catalog says against a run.json that asks for this mode; None when nothing."""
    entry = find(architecture)
    if entry is None:  # derived from the model's own files
        return None
    document = RunDocument.from_object(json.loads(_RUN.read_text(encoding="utf-8")))
    asked: dict[str, Any] = {"architecture": architecture, "size": next(iter(entry.sizes)), "mode": mode}
    if mode in ("NF4", "FP4"):
        asked |= {"mode": "LoRA", "quantization": mode}
    return "; ".join(map(str, check(document.with_overrides(asked)))) or None


def run_cell(key: str, architecture: str, base: Path, mode: Mode, root: Path, **changes: Any) -> Cell:
    """Trains one tiny model in one mode on four samples, through ``airtune.training``'s own entry point.

    Args:
        key: names the cell.
        architecture: key of the catalog.
        base: the tiny model.
        mode: how it is trained.
        root: of the run directories.
        changes: of the resolved run.
    """
    from training_runs import draw_dataset, resolved, write_run

    from airtune.training import saving
    from airtune.training.__main__ import train
    from airtune.training.stopping import StopRequest

    given = {"epochs": 12, "lora_rank": 8, "lora_alpha": 16, **settings(mode), **changes}
    run = resolved(architecture=architecture, base_model=base.as_uri(), **given)
    cell = Cell(key, mode, refused=refusal(architecture, mode))
    if cell.refused:
        return cell
    data = root / "data"
    records = draw_dataset(data, train=4, validation=0)
    directory = write_run((root / "store").as_uri(), f"{key}-{mode}".lower(), run, records, data)
    kept = saving.save_trained

    def save_trained(model: Any, processor: Any, *rest: Any) -> str:
        # What is saved is what is asked: here, before the model is gone.
        folder = kept(model, processor, *rest)
        cell.answer = _say(model, processor, directory, records[0], directory.workspace / _SAID)
        return folder

    saving.save_trained = save_trained
    try:
        train(directory.uri, StopRequest())
    except AirtuneError as error:
        cell.refused = str(error)
        return cell
    finally:
        saving.save_trained = kept
    losses = [json.loads(line)["loss"] for line in directory.path(layout.TRAINING_METRICS).read_text().splitlines()]
    cell.first_loss, cell.last_loss = losses[0], losses[-1]
    cell.selfcheck = directory.read_json(layout.TRAINING_SELFCHECK)
    cell.log = directory.path(layout.TRAINING_LOG).read_text()
    cell.folder = str(directory.workspace)
    (directory.workspace / "cell.json").write_text(json.dumps({**asdict(cell), "uri": directory.uri}))
    return cell


def _say(model: Any, processor: Any, directory: RunDirectory, record: Record, out: Path) -> str:
    """Logits of one whole sample, to a file; and what the model answers to its prompt."""
    import torch
    from safetensors.torch import save_file
    from transformers import GenerationConfig

    from airtune.datasets.pictures.images import Images
    from airtune.modeling.conversation import stop_token_ids
    from airtune.modeling.encoding import Encoder
    from airtune.modeling.precision import compute_dtype

    run = Resolution.from_json(directory.store.read(layout.RESOLUTION)).run
    model.eval()
    # The base's own: a fully trained model has none any more when it is saved, the file is copied.
    settings = GenerationConfig.from_pretrained(run.base_model.removeprefix("file://"))
    stops = sorted(stop_token_ids(processor, settings))
    encoder = Encoder(processor, stops)
    pictures = Images(str(directory.read_json(layout.FACTS)["root_uri"])).load_all(record)
    whole = encoder.collate(
        [encoder.encode(run.system_prompt, record.prompt, pictures, record.target)], padding="right"
    )
    whole.pop("labels")
    asked = encoder.collate([encoder.encode(run.system_prompt, record.prompt, pictures)], padding="left")
    whole, asked = (
        {name: value.to(compute_dtype(run)) if value.is_floating_point() else value for name, value in each.items()}
        for each in (whole, asked)
    )
    with torch.no_grad():
        logits = model(**whole, use_cache=False).logits
        answer = model.generate(**asked, max_new_tokens=24, do_sample=False, use_cache=True, eos_token_id=stops)
    save_file({"logits": logits.float().contiguous()}, out)
    return str(processor.tokenizer.decode(answer[0, asked["input_ids"].shape[1] :]))


def say_again(workspace: Path) -> dict[str, float]:
    """Loads what a cell saved and asks it again.

    Returns:
        The largest difference between the logits, by who loaded: ``airtune``, and for plain LoRA also ``transformers``
        (as Datature's SDK does) and ``peft``.
    """
    from peft import PeftModel
    from safetensors.torch import load_file

    from airtune.datasets.record import read_records
    from airtune.modeling.adapters import load_adapter
    from airtune.modeling.loading import load_model, load_processor

    cell = json.loads((workspace / "cell.json").read_text())
    directory = RunDirectory.open(cell["uri"])
    run = Resolution.from_json(directory.store.read(layout.RESOLUTION)).run
    entry = entry_of(run)
    base = Path(run.base_model.removeprefix("file://"))
    adapter = workspace / layout.MODEL_ADAPTER
    folder = base if adapter.is_dir() else workspace / layout.MODEL_FULL
    record = read_records(workspace / layout.RECORDS, "train")[0]
    before = load_file(workspace / _SAID)["logits"]
    differences = {}
    for who in ("airtune", "transformers", "peft") if cell["mode"] == "LoRA" else ("airtune",):
        model = load_model(folder, run, entry=entry, for_training=False)
        if who == "transformers":
            model.load_adapter(str(adapter))
            model.eval()
        elif who == "peft":
            model = PeftModel.from_pretrained(model, str(adapter)).eval()
        elif adapter.is_dir():
            model = load_adapter(model, adapter)
        answer = _say(model, load_processor(folder, run, entry=entry), directory, record, workspace / _AGAIN)
        if answer != cell["answer"]:
            raise AssertionError(f"{cell['key']} {cell['mode']} {who}: {cell['answer']!r} became {answer!r}")
        differences[who] = float((before - load_file(workspace / _AGAIN)["logits"]).abs().max())
    return differences


def main() -> int:
    """Asks every cell below a folder again; prints ``{workspace: {who loaded: largest difference}}``."""
    found = {str(path.parent): say_again(path.parent) for path in sorted(Path(sys.argv[1]).rglob("cell.json"))}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
