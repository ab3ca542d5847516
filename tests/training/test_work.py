"""What packing and kept features save, counted in work and not in time: tokens and patches that the model computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from training_runs import record, resolved, train_to_end, write_run

pytestmark = pytest.mark.training

LAYERS = 2
"""Of the tiny base's language model."""

SENTENCE = "Look at the picture and answer with one word, in small letters and without a full stop. "


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Tokens through a layer of the language model, and patches through the vision tower, while this is open."""
    import torch

    seen: Counter[str] = Counter()

    def note(module: Any, args: tuple[Any, ...]) -> None:
        if type(module).__name__ == "Qwen3VLTextDecoderLayer":
            seen["tokens"] += args[0].shape[0] * args[0].shape[1]
        elif type(module).__name__ == "Qwen3VLVisionPatchEmbed":
            seen["patches"] += args[0].shape[0]

    hook = torch.nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield seen
    finally:
        hook.remove()
    seen["tokens"] //= LAYERS


def worked(
    folder: Path, *, questions: int, pictures: int, sentences: int, side: int, epochs: int
) -> tuple[Counter[str], dict[str, Any]]:
    """What a run computed, and its result."""
    data = folder / "data"
    (data / "images").mkdir(parents=True)
    records = []
    for number in range(pictures):
        key = f"images/{number}.png"
        Image.new("RGB", (side, side), (number * 20, 90, 200)).save(data / key)
        records += [record(data, key, "train", f"Question {one}?", "blue", one) for one in range(questions)]
    run = resolved(system_prompt=SENTENCE * sentences, epochs=epochs, batch_size=8)
    directory = write_run((folder / "store").as_uri(), "run", run, records, data)
    with counted() as seen:
        result = train_to_end(directory)
    return seen, result


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))


def test_four_questions_a_picture_compute_less_than_a_third_of_their_tokens_from_the_first_epoch(
    tmp_path: Path,
) -> None:
    seen, result = worked(tmp_path, questions=4, pictures=8, sentences=30, side=128, epochs=1)
    assert result["tokens"] / seen["tokens"] >= 3.0
    assert seen["patches"] <= 8 * 256  # a picture's patches, once for its four questions


def test_one_question_a_picture_computes_little_more_than_half_of_its_tokens(tmp_path: Path) -> None:
    # As many picture tokens for a token of the system prompt as 256 for 800.
    seen, result = worked(tmp_path, questions=1, pictures=32, sentences=8, side=128, epochs=1)
    assert result["tokens"] / seen["tokens"] >= 1.8


def test_a_picture_goes_through_the_frozen_tower_once_in_twenty_epochs(tmp_path: Path) -> None:
    seen, result = worked(tmp_path, questions=4, pictures=2, sentences=30, side=128, epochs=20)
    assert seen["patches"] == 2 * 256
    assert result["tokens"] / seen["tokens"] >= 3.0
