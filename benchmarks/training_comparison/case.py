"""One comparison: which samples, which model, how long. Light, so that the parent process stays small."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DATA: Final = {
    "vqa, 4 questions": ("vqa", 4),
    "vqa, 1 question": ("vqa", 1),
    "phrase-grounding": ("phrase-grounding", 1),
}
"""The kinds of samples: the task, and how many samples show one picture."""

RUN_ID: Final = "run"


@dataclass(frozen=True)
class Case:
    """What both sides train.

    Attributes:
        data: a key of :data:`DATA`.
        epochs: how often every sample is seen.
        steps: optimizer steps in all; each epoch has ``steps / epochs`` of them.
        batch: samples of a step.
        model: a key of :data:`training_comparison.models.MODELS`.
        mode: ``LoRA`` or ``SFT``.
        quantization: ``NF4``, or empty for none.
        precision: ``Float32`` or ``BFloat16``.
        side: width and height of a picture in pixels.
        system_tokens: least length of the system prompt, in tokens of the model's tokenizer.
        seed: of everything that is drawn.
    """

    data: str
    epochs: int
    steps: int
    batch: int
    model: str
    mode: str = "LoRA"
    quantization: str = ""
    precision: str = "Float32"
    side: int = 512
    system_tokens: int = 800
    seed: int = 0

    @property
    def task(self) -> str:
        """The run's task."""
        return DATA[self.data][0]

    @property
    def samples(self) -> int:
        """Training samples in the data."""
        return self.steps // self.epochs * self.batch

    @property
    def pictures(self) -> int:
        """Training pictures in the data."""
        return self.samples // DATA[self.data][1]

    def write(self, path: Path) -> Path:
        """Writes it for a child process; the same path comes back."""
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> Case:
        """Reads what :meth:`write` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))
