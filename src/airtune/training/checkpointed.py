"""What a checkpoint holds of a training, written and read: whole, and the same whatever number of processes does it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from transformers import Trainer
from transformers.trainer import SCHEDULER_NAME

from airtune.runspec.resolved import ResolvedRun
from airtune.training import checkpoints, ranks
from airtune.training.best import Best
from airtune.training.optimization import seed
from airtune.training.optimizer_state import load_optimizer, save_optimizer
from airtune.training.surroundings import Surroundings
from airtune.training.weights import load_trained, save_trained_weights

_STATE: Final = "trainer_state.json"


class CheckpointedTrainer(Trainer):  # type: ignore[misc]
    """The library's trainer with a checkpoint's content of our own.

    Weights that are trained, optimizer, schedule, scaler, random states and position. The library would write what
    each process holds of a divided model in a form that only as many processes can read.
    """

    run: ResolvedRun
    around: Surroundings
    best: Best
    lr_scheduler: Any
    optimizer: Any

    def save_now(self) -> None:
        """Writes a checkpoint of the latest step."""
        self._save_checkpoint(self.model, None)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Weights that are trained, optimizer, schedule, scaler, random states and position: whole or not at all."""
        del model, trial
        step, directory = self.state.global_step, self.around.directory
        with checkpoints.sealed(directory, step) if ranks.is_main() else _nowhere() as folder:
            self.save_state_to(folder)
        if ranks.is_main():
            self.around.mirror.checkpoint(step)
            best = self.best.step()
            kept = frozenset() if best is None else frozenset([best])
            for gone in checkpoints.rotate(directory, keep=self.run.checkpoints_kept, protect=kept):
                self.around.mirror.remove(gone)
        ranks.wait()
        self.around.say(f"checkpoint of step {step} saved")

    def save_state_to(self, folder: Path) -> None:
        """Writes everything; all processes call it, the first one writes."""
        save_trained_weights(self.model, folder)
        save_optimizer(self.optimizer.optimizer, folder)
        self._save_random_states(folder)
        if ranks.is_main():
            torch.save(self.lr_scheduler.state_dict(), folder / SCHEDULER_NAME)
            self._save_scaler(str(folder))
            self.state.save_to_json(str(folder / _STATE))

    def _save_random_states(self, folder: Path) -> None:
        """Those of every process, written by the first."""
        with tempfile.TemporaryDirectory() as own:
            self._save_rng_state(own)
            states = ranks.gathered({path.name: path.read_bytes() for path in Path(own).iterdir()})
        if ranks.is_main():
            for name, content in (item for state in states for item in state.items()):
                (folder / name).write_bytes(content)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """The random states of this process; on another number of processes new ones, which follow from the step."""
        if checkpoint is None:
            return
        if len(list(Path(checkpoint).glob("rng_state*.pth"))) == ranks.world():
            super()._load_rng_state(checkpoint)
        else:
            seed(self.run, self.state.global_step, ranks.rank())

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Puts the trained weights of a checkpoint into the model: all of them, or none."""
        del model
        load_trained(self.model, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Puts the optimizer and the schedule back where the checkpoint left them."""
        if checkpoint is None:
            return
        load_optimizer(self.optimizer.optimizer, Path(checkpoint))
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint, SCHEDULER_NAME), weights_only=True))


@contextlib.contextmanager
def _nowhere() -> Iterator[Path]:
    """For a process that only takes part in a checkpoint: it writes nothing."""
    yield Path(os.devnull)
