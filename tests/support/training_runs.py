"""Run directories as the stages before training leave them: pictures drawn here, records, resolution."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from airtune.configs import configs_root
from airtune.datasets.record import Record, write_records
from airtune.runspec.resolved import Resolution, ResolvedRun, Sampling
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

TINY = configs_root() / "demo" / "tiny-vlm"
COLOURS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 220), "black": (10, 10, 10)}


def resolved(**changes: Any) -> ResolvedRun:
    """A resolved run of the tiny base: float32 LoRA, small, quick; with any value changed."""
    values: dict[str, Any] = {
        "name": "shapes",
        "task": "vqa",
        "system_prompt": "Answer with JSON.",
        "system_prompt_source": "user",
        "user_prompt": None,
        "base_model": TINY.as_uri(),
        "architecture": "qwen3vl",
        "size": "tiny",
        "parameters": None,
        "training_mode": "LoRA",
        "quantization_enabled": False,
        "quantization_type": "NF4",
        "precision": "Float32",
        "epochs": 2,
        "learning_rate": 1e-3,
        "batch_size": 4,
        "gradient_accumulation": 1,
        "optimizer": "AdamW",
        "learning_rate_schedule": "constant",
        "warmup_ratio": 0.0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": 7,
        "early_stopping_patience": None,
        "lora_rank": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "max_pixels": None,
        "max_sequence_length": None,
        "checkpoint_every_steps": None,
        "checkpoint_every_minutes": None,
        "checkpoints_kept": 2,
        "gradient_checkpointing": False,
        "sampling": Sampling(max_new_tokens=24, top_k=0, top_p=1.0, temperature=0.0, repetition_penalty=1.0),
        "dataset_source": "file:///unused",
        "dataset_format": "vi",
    }
    return ResolvedRun(**{**values, **changes})


def draw_dataset(root: Path, *, train: int = 12, validation: int = 4, words: int = 0) -> list[Record]:
    """Squares of a colour, one question each, of so many words more; answers of very uneven length."""
    records = []
    for number in range(train + validation):
        colour = list(COLOURS)[number % len(COLOURS)]
        split = "train" if number < train else "validation"
        picture = Image.new("RGB", (64, 64), (235, 235, 235))
        corner = 4 + (number * 7) % 24
        ImageDraw.Draw(picture).rectangle((corner, corner, corner + 26, corner + 26), fill=COLOURS[colour])
        key = f"images/{number}.png"
        (root / "images").mkdir(parents=True, exist_ok=True)
        picture.save(root / key)
        answer = " ".join([colour] * (1 + (number % 3) * 4))
        records.append(record(root, key, split, f"What colour? ({number}){' why' * words}", answer, number))
    return records


def record(root: Path, key: str, split: Any, prompt: str, answer: str, line: int = 1) -> Record:
    """A record of one picture below ``root``."""
    digest = hashlib.sha256((root / key).read_bytes()).hexdigest()
    with Image.open(root / key) as picture:
        width, height = picture.size
    name = hashlib.sha256(f"{digest}{prompt}{answer}".encode()).hexdigest()
    return Record(
        id=name[:16], split=split, task="vqa", images=(key,), image_digests=(digest,), video=None, prompt=prompt,
        target=json.dumps({"vqa": {"answer": answer}}, separators=(",", ":")), truth=json.dumps({"answer": answer}),
        group=key, width=width, height=height, digest=name, source_file="annotations.jsonl", source_line=line,
    )  # fmt: skip


def write_run(root_uri: str, run_id: str, run: ResolvedRun, records: list[Record], data: Path) -> RunDirectory:
    """A run directory with what training reads."""
    directory = RunDirectory.create(root_uri, run_id, '{"spec": {}}')
    resolution = Resolution(run=run, entries=(), warnings=(), estimate={}, facts={})
    directory.write_text(layout.RESOLUTION, resolution.to_json())
    directory.write_json(layout.FACTS, {"root_uri": data.as_uri()})
    write_records(directory.path(layout.RECORDS), records)
    directory.push(layout.RECORDS)
    return directory


def train_to_end(directory: RunDirectory) -> dict[str, Any]:
    """Runs the stage in this process; its result."""
    from airtune.training.__main__ import train
    from airtune.training.stopping import StopRequest

    return train(directory.uri, StopRequest())


def training_rows(directory: RunDirectory, name: str) -> list[dict[str, Any]]:
    """The lines of a file of ``training/``."""
    return [json.loads(line) for line in (directory.workspace / "training" / name).read_text().splitlines()]


def watched(pieces: Any) -> Any:
    """The start-up checks of a run, on the pieces of one (see the fixture ``assemble``)."""
    from airtune.catalog.registry import entry_of
    from airtune.training.selfcheck import SelfCheck

    check = SelfCheck(pieces.model, pieces.run, entry_of(pieces.run), lambda report: None)
    check.watch_first_step(pieces.model)
    pieces.trainer.add_callback(check)
    return check
