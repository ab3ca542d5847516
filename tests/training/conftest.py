"""A run directory as the stages before training leave it: pictures drawn here, records, resolution."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from airtune.configs import configs_root
from airtune.datasets.record import Record, write_records
from airtune.runspec.resolved import Resolution, ResolvedRun, Sampling
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

TINY = configs_root() / "demo" / "tiny-vlm"
COLOURS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 220), "black": (10, 10, 10)}

MakeRun = Callable[..., RunDirectory]


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


def draw_dataset(root: Path, *, train: int = 12, validation: int = 4) -> list[Record]:
    """Squares of a colour, one question each; answers of very uneven length."""
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
        records.append(record(root, key, split, f"What colour? ({number})", answer, number))
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


@dataclass
class Assembled:
    """The pieces of one training run, put together as the stage does it."""

    run: ResolvedRun
    model: Any
    encoder: Any
    train: Any
    validation: Any
    trainer: Any
    said: list[str]

    def fit(self) -> None:
        """Trains to the end."""
        steps = self.run.epochs * self.trainer.steps_per_epoch
        self.trainer.fit(steps, 0, None)

    def trained(self) -> dict[str, Any]:
        """Copies of the trained parameters."""
        return {name: p.detach().clone() for name, p in self.model.named_parameters() if p.requires_grad}


Assemble = Callable[..., Assembled]


@pytest.fixture
def assemble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Assemble:
    """``assemble(batch_size=2, train=8)`` gives the pieces of a run, ready to be trained."""
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    made = 0

    def put_together(*, train: int = 12, validation: int = 4, **changes: Any) -> Assembled:
        nonlocal made
        made += 1
        from airtune.catalog.registry import entry
        from airtune.datasets.images import Images
        from airtune.modeling.adapters import add_adapters
        from airtune.modeling.conversation import stop_token_ids
        from airtune.modeling.encoding import Encoder
        from airtune.modeling.loading import load_model, load_processor
        from airtune.modeling.parts import run_frozen_parts_without_gradients
        from airtune.training.journal import Journal
        from airtune.training.mirror import Mirror
        from airtune.training.optimization import seed, training_arguments
        from airtune.training.pace import Pace
        from airtune.training.samples import Batches, Samples
        from airtune.training.stopping import StopRequest
        from airtune.training.trainer import Surroundings, VisionLanguageTrainer

        run = resolved(**changes)
        records = draw_dataset(tmp_path / "data", train=train, validation=validation)
        directory = write_run((tmp_path / "store").as_uri(), f"made-{made}", run, records, tmp_path / "data")
        known = entry(run.architecture)
        seed(run)
        arguments = training_arguments(run, folder=tmp_path)
        processor = load_processor(TINY, run)
        model = load_model(TINY, run, entry=known, for_training=True, device=arguments.device)
        encoder = Encoder(processor, stop_token_ids(processor, model.generation_config))
        images = Images((tmp_path / "data").as_uri())
        sets = [
            Samples([r for r in records if r.split == split], encoder, images, run.system_prompt, 4096)
            for split in ("train", "validation")
        ]
        if run.gradient_checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        if run.training_mode == "LoRA":
            model = add_adapters(model, run, known)
            run_frozen_parts_without_gradients(model, known)
        else:
            model.requires_grad_(True)
        said: list[str] = []
        total = run.epochs * -(-train // (run.batch_size * run.gradient_accumulation))
        around = Surroundings(
            directory,
            Pace(Journal(directory.path("training/metrics.jsonl"), keep_until=0), total=total, resumed=0,
                 say=said.append),
            Journal(directory.path("training/evaluations.jsonl"), keep_until=0),
            Mirror(directory, said.append),
            StopRequest(),
            said.append,
        )  # fmt: skip
        trainer = VisionLanguageTrainer(
            model, run, arguments, train=sets[0], validation=sets[1], batches=Batches(encoder), around=around
        )
        return Assembled(run, model, encoder, sets[0], sets[1], trainer, said)

    return put_together


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """Makes runs in a folder of this test: ``make_run(epochs=3, train=8)`` gives the run directory."""
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    made = 0

    def make(*, train: int = 12, validation: int = 4, root: str | None = None, **changes: Any) -> RunDirectory:
        nonlocal made
        made += 1
        data = tmp_path / "data"
        chosen = draw_dataset(data, train=train, validation=validation)
        return write_run(root or (tmp_path / "store").as_uri(), f"run-{made}", resolved(**changes), chosen, data)

    return make
