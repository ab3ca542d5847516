"""Make the tiny base model that the demo and the tests fine-tune.

    python include/configs/demo/make_tiny_vlm.py --out include/configs/demo/tiny-vlm --minutes 36

The result is a real Qwen3-VL of about half a million parameters: config, weights (safetensors, bfloat16), tokenizer,
image and video processor, chat template, generation config. It is trained from nothing on drawn pictures in three
parts, because a model this small that starts with next-token loss stays at chance:

1. `train_vision`: the vision tower alone, told densely by throw-away heads what lies under each image token.
2. `train_language`: the whole model, next-token loss on answers about the pictures and on repeating random tokens.
3. `separate_unused_rows`: new embeddings for the tokens that no question or answer used.

`accuracy` then gives exact match per subject on pictures that no training step has drawn.

Equal arguments (with `--steps`, not `--minutes`) give the same model on the same machine and library versions.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tiny_vlm_batches import Collator, check_layout, image_grids, label_logits, lesson_batches, pixel_values
from tiny_vlm_lessons import Lesson, draw_lesson
from tiny_vlm_parts import (
    CELLS,
    HIDDEN,
    IMAGE_TOKENS,
    MERGE,
    PATCH,
    build_model,
    build_processor,
    build_tokenizer,
    save,
)
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen3VLForConditionalGeneration

from airtune.datasets.drawn.shapes import COLOURS, SHAPES, SIDE
from airtune.datasets.drawn.strokes import LETTERS

UNUSED_ROW_NORM = 1.5


class DenseHeads(nn.Module):
    """Throw-away heads of the first part: what lies under each image token, and what its cell looks like."""

    def __init__(self) -> None:
        super().__init__()
        self.colour = nn.Linear(HIDDEN, len(COLOURS) + 1)
        self.shape = nn.Linear(HIDDEN, len(SHAPES) + 1)
        self.box = nn.Linear(HIDDEN, 4)
        self.letter = nn.Linear(HIDDEN, len(LETTERS))
        self.cell = nn.Linear(HIDDEN, (PATCH * MERGE // 4) ** 2)

    def forward(self, features: Tensor, lessons: Sequence[Lesson], pixels: Tensor) -> Tensor:
        """The summed loss of all heads for features of shape (pictures, tokens, `HIDDEN`)."""
        targets = [_cell_targets(lesson) for lesson in lessons]
        colours, shapes = (torch.tensor([target[part] for target in targets]) for part in (0, 1))
        boxes = torch.tensor([target[2] for target in targets])
        on_object = shapes > 0
        scenes = torch.tensor([lesson.letter is None for lesson in lessons])
        letters = [list(LETTERS).index(lesson.letter) for lesson in lessons if lesson.letter is not None]
        loss = functional.cross_entropy(self.colour(features[scenes]).flatten(0, 1), colours[scenes].flatten())
        loss = loss + functional.cross_entropy(self.shape(features[scenes]).flatten(0, 1), shapes[scenes].flatten())
        loss = loss + 4.0 * functional.smooth_l1_loss(self.box(features)[on_object], boxes[on_object], beta=0.05)
        if letters:
            # A letter is the whole picture's: each token tells what it can, the mean decides.
            loss = loss + functional.cross_entropy(self.letter(features[~scenes].mean(1)), torch.tensor(letters))
        return loss + functional.mse_loss(self.cell(features), _coarse_cells(pixels, len(lessons)))


def _cell_targets(lesson: Lesson) -> tuple[list[int], list[int], list[list[float]]]:
    """Colour, shape (0 = none) and box (0..1) of the object that covers most of each cell."""
    cell = SIDE // CELLS
    colours, shapes, boxes = [0] * IMAGE_TOKENS, [0] * IMAGE_TOKENS, [[0.0] * 4 for _ in range(IMAGE_TOKENS)]
    for token in range(IMAGE_TOKENS):
        left, top = token % CELLS * cell, token // CELLS * cell
        covered = [
            max(0, min(drawn.box[2], left + cell) - max(drawn.box[0], left))
            * max(0, min(drawn.box[3], top + cell) - max(drawn.box[1], top))
            for drawn in lesson.objects
        ]
        if covered and max(covered) > cell * cell // 8:
            drawn = lesson.objects[covered.index(max(covered))]
            colours[token] = list(COLOURS).index(drawn.colour) + 1
            shapes[token] = SHAPES.index(drawn.shape) + 1
            boxes[token] = [edge / SIDE for edge in drawn.box]
    return colours, shapes, boxes


def _coarse_cells(pixels: Tensor, count: int) -> Tensor:
    """Grey 4 x 4 thumbnails of each merged cell, shape (pictures, tokens, 16): keeps strokes in the features."""
    grey = pixels.reshape(count, IMAGE_TOKENS, MERGE, MERGE, 3, 2, PATCH, PATCH)[:, :, :, :, :, 0].mean(4)
    whole = grey.permute(0, 1, 2, 4, 3, 5).reshape(count * IMAGE_TOKENS, 1, MERGE * PATCH, MERGE * PATCH)
    return functional.avg_pool2d(whole, 4).reshape(count, IMAGE_TOKENS, -1)


@dataclass
class Budget:
    """How long a part may go on: a number of steps, or minutes, in which case steps are as many as fit."""

    steps: int | None
    seconds: float
    started: float = 0.0

    def progress(self, step: int) -> float:
        """The share of the budget used, 0..1."""
        if self.steps is not None:
            return step / self.steps
        return (time.monotonic() - self.started) / self.seconds


def run_steps(
    name: str,
    budget: Budget,
    parameters: list[nn.Parameter],
    loss_of: Callable[[int], Tensor],
    learning_rate: float,
    on_progress: Callable[[int], None] | None = None,
) -> int:
    """AdamW with warm-up and cosine decay until the budget is used; prints a line every few seconds."""
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    budget.started = last_line = time.monotonic()
    step, recent = 0, []
    while (used := budget.progress(step)) < 1.0:
        for group in optimizer.param_groups:
            group["lr"] = (
                learning_rate * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * used)))
            )
        loss = loss_of(step)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        recent.append(loss.item())
        step += 1
        if time.monotonic() - last_line >= 5.0:
            seconds = time.monotonic() - budget.started
            mean = sum(recent) / len(recent)
            print(f"{name} step {step} {100 * used:.0f} % loss {mean:.4f} {seconds:.0f} s", flush=True)
            last_line, recent = time.monotonic(), []
        if on_progress is not None:
            on_progress(step)
    return step


def train_vision(model: Qwen3VLForConditionalGeneration, budget: Budget, seed: int, batch_size: int) -> int:
    """Part one: the vision tower alone; returns the number of steps taken."""
    heads, tower = DenseHeads(), model.model.visual

    def loss_of(step: int) -> Tensor:
        lessons = [draw_lesson(seed + 1, step * batch_size + item, turns=1) for item in range(batch_size)]
        pixels = pixel_values([lesson.image for lesson in lessons])
        output = tower(pixels, grid_thw=image_grids(batch_size))
        loss = torch.zeros(())
        for features in (output.pooler_output, *output.deepstack_features):
            loss = loss + heads(features.reshape(batch_size, IMAGE_TOKENS, HIDDEN), lessons, pixels)
        return loss

    return run_steps("vision", budget, [*tower.parameters(), *heads.parameters()], loss_of, learning_rate=2e-3)


def train_language(
    model: Qwen3VLForConditionalGeneration,
    collator: Collator,
    budget: Budget,
    seed: int,
    batch_size: int,
    on_progress: Callable[[int], None],
) -> int:
    """Part two: the whole model on the answers' tokens; returns the number of steps taken."""
    batches = lesson_batches(collator, seed, batch_size)

    def loss_of(_: int) -> Tensor:
        logits, targets, _rows = label_logits(model, next(batches))
        return functional.cross_entropy(logits, targets)

    return run_steps("language", budget, list(model.parameters()), loss_of, 2e-3, on_progress)


@torch.no_grad()
def accuracy(model: Qwen3VLForConditionalGeneration, collator: Collator, seed: int, pictures: int) -> dict[str, float]:
    """Exact match of the first answer, per subject, on fresh pictures.

    An answer whose every token is the most likely one, given the tokens before it, is the answer that greedy
    generation gives; so one forward pass decides it.
    """
    model.eval()
    right: dict[str, list[bool]] = {}
    for start in range(0, pictures, 100):
        lessons = [draw_lesson(seed + 3, start + item, turns=1) for item in range(min(100, pictures - start))]
        batch = collator(lessons, [""] * len(lessons))
        logits, targets, rows = label_logits(model, batch)
        wrong = torch.zeros(len(lessons)).index_add(0, rows, (logits.argmax(-1) != targets).float())
        for subject, errors in zip(batch.subjects, wrong.tolist(), strict=True):
            right.setdefault(subject, []).append(errors == 0)
    model.train()
    return {subject: sum(hits) / len(hits) for subject, hits in sorted(right.items())}


@torch.no_grad()
def separate_unused_rows(model: Qwen3VLForConditionalGeneration, collator: Collator, seed: int) -> None:
    """Draw new embedding rows for the tokens that neither the questions nor the answers of the lessons used.

    The embedding is tied to the output: what is never an answer is pushed away in one common direction, until the
    rows of such tokens resemble each other. An adapter that is to answer with them then has to undo that first; with
    rows drawn anew it needs about half as many steps. The norm is a little above that of the used rows.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = model.get_input_embeddings().weight
    unused = sorted(set(range(len(rows))) - collator.used_ids(seed))
    drawn = torch.randn(len(unused), rows.shape[1], generator=generator)
    rows[unused] = UNUSED_ROW_NORM * functional.normalize(drawn, dim=1)


def main() -> None:
    """Parse the command line and make the model."""
    parser = argparse.ArgumentParser(description="Make the tiny base model that airtune's demo fine-tunes.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write the model into")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=40.0, help="wall-clock time for both parts (default 40)")
    length.add_argument("--steps", type=int, help="steps of each part instead: repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=64, help="pictures a step (default 64)")
    parser.add_argument("--checkpoints", type=Path, metavar="DIR", help="also save here, every 200 steps of part two")
    arguments = parser.parse_args()

    tokenizer = build_tokenizer()
    processor = build_processor(tokenizer)
    model = build_model(tokenizer, arguments.seed)
    collator = Collator(processor)
    check_layout(model, processor, collator)
    print(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters", flush=True)

    def checkpoint(step: int) -> None:
        if arguments.checkpoints is not None and step % 200 == 0:
            save(model, processor, arguments.checkpoints)
            print(json.dumps(accuracy(model, collator, arguments.seed, 400)), flush=True)

    seconds = arguments.minutes * 60
    steps = [
        train_vision(model, Budget(arguments.steps, seconds * 0.2), arguments.seed, arguments.batch),
        train_language(
            model, collator, Budget(arguments.steps, seconds * 0.8), arguments.seed, arguments.batch, checkpoint
        ),
    ]
    separate_unused_rows(model, collator, arguments.seed)
    save(model, processor, arguments.out)
    print(json.dumps({"steps": steps, "accuracy": accuracy(model, collator, arguments.seed, 2_000)}), flush=True)


if __name__ == "__main__":
    main()
