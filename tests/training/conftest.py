"""A run directory as the stages before training leave it: pictures drawn here, records, resolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from training_runs import TINY, draw_dataset, resolved, write_run

from airtune.runspec.resolved import ResolvedRun
from airtune.stores.run_directory import RunDirectory

MakeRun = Callable[..., RunDirectory]


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

    def put_together(*, train: int = 12, validation: int = 4, packed: bool = True, **changes: Any) -> Assembled:
        nonlocal made
        made += 1
        from airtune.catalog.registry import entry
        from airtune.datasets.pictures.images import Images
        from airtune.modeling.conversation import stop_token_ids
        from airtune.modeling.encoding import Encoder
        from airtune.modeling.loading import load_model, load_processor
        from airtune.modeling.vision_features import picture_encoder
        from airtune.training.journal import Journal
        from airtune.training.mirror import Mirror
        from airtune.training.optimization import seed, training_arguments
        from airtune.training.pace import Pace
        from airtune.training.packing import Packer
        from airtune.training.remedies import Remedies
        from airtune.training.samples import Batches, Samples
        from airtune.training.stopping import StopRequest
        from airtune.training.surroundings import Surroundings
        from airtune.training.trainable import make_trainable
        from airtune.training.trainer import VisionLanguageTrainer

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
        model = make_trainable(model, run, known)
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
            Remedies(directory, run, longest=4096, say=said.append),
        )  # fmt: skip
        trainer = VisionLanguageTrainer(
            model, run, arguments, train=sets[0], validation=sets[1],
            batches=Batches(encoder, Packer.of(model, known) if packed else None), around=around,
            seeing=picture_encoder(model, run, known),
        )  # fmt: skip
        return Assembled(run, model, encoder, sets[0], sets[1], trainer, said)

    return put_together


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """Makes runs in a folder of this test: ``make_run(epochs=3, train=8)`` gives the run directory."""
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    made = 0

    def make(
        *, train: int = 12, validation: int = 4, words: int = 0, root: str | None = None, **changes: Any
    ) -> RunDirectory:
        nonlocal made
        made += 1
        data = tmp_path / "data"
        chosen = draw_dataset(data, train=train, validation=validation, words=words)
        return write_run(root or (tmp_path / "store").as_uri(), f"run-{made}", resolved(**changes), chosen, data)

    return make


@pytest.fixture
def flex_attention_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention as it is written down, with its backward pass, which torch allows on GPUs only."""
    from torch.nn.attention import flex_attention

    monkeypatch.setattr(flex_attention, "_validate_device", lambda query, key, value: None)
