"""Lessons as tensors: the rows of tokens, pixels, positions and labels that the tiny base model is trained on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from tiny_vlm_lessons import SPELLING_OPENINGS, Lesson, draw_lesson, long_prompt, short_prompt, spelling
from tiny_vlm_parts import CELLS, IMAGE_TOKENS, MERGE, PATCH, TURN_END, TURN_START
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from airtune.datasets.drawn.shapes import SIDE


def pixel_values(images: Sequence[Image.Image]) -> Tensor:
    """What the image processor returns for pictures of `SIDE` x `SIDE`, without its cost per picture.

    Returns:
        Patches, shape (images * 64, 3 * 2 * 8 * 8), float32 in -1..1, the four patches of a merged cell together.
    """
    pixels = torch.from_numpy(np.stack([np.asarray(image, dtype=np.float32) for image in images]))
    pixels = pixels.permute(0, 3, 1, 2) / 127.5 - 1.0
    count = len(images)
    grid = pixels.reshape(count, 3, CELLS, MERGE, PATCH, CELLS, MERGE, PATCH).permute(0, 2, 5, 3, 6, 1, 4, 7)
    return grid.unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, 2, -1, -1).reshape(count * IMAGE_TOKENS * MERGE**2, -1)


def image_grids(count: int) -> Tensor:
    """The `image_grid_thw` of that many pictures: one frame of 8 x 8 patches each."""
    return torch.tensor([[1, SIDE // PATCH, SIDE // PATCH]]).expand(count, 3).contiguous()


@dataclass(frozen=True)
class Batch:
    """Right-padded token rows with one picture each, and the labels of their answers (-100 elsewhere)."""

    input_ids: Tensor
    labels: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    pixels: Tensor
    subjects: list[str]


Row = tuple[list[int], list[int], int]
"""Token ids, labels, and where the image tokens begin."""


class Collator:
    """Lays lessons out as conversations, token for token as the chat template does."""

    def __init__(self, processor: Qwen3VLProcessor) -> None:
        self.tokenizer = processor.tokenizer
        self._cache: dict[str, list[int]] = {}
        specials = set(self.tokenizer.all_special_ids)
        self._plain_ids = [token for token in range(len(self.tokenizer)) if token not in specials]

    def encode(self, text: str) -> list[int]:
        """Token ids of a text that may contain special tokens."""
        if text not in self._cache:
            self._cache[text] = self.tokenizer.encode(text, add_special_tokens=False)
        return self._cache[text]

    def used_ids(self, seed: int, lessons: int = 6_000) -> set[int]:
        """The tokens of the conversation's frame, and of the questions and answers of that many lessons."""
        used = {*self.tokenizer.all_special_ids, *self.encode("system\nuser\nassistant\n")}
        for index in range(lessons):
            for turn in draw_lesson(seed, index, turns=3).turns:
                used.update(self.encode(turn.question), self.encode(turn.answer))
        for opening in SPELLING_OPENINGS:
            used.update(self.encode(opening))
        return used

    def row(self, lesson: Lesson, system: str, rng: random.Random | None = None) -> Row:
        """Lay out one conversation; with a generator, one row in five ends by repeating random tokens."""
        ids = list(self.encode(f"{TURN_START}system\n{system}{TURN_END}\n")) if system else []
        ids = ids + self.encode(f"{TURN_START}user\n<|vision_start|>")
        image_at = len(ids)
        ids = ids + self.encode("<|image_pad|>") * IMAGE_TOKENS + self.encode("<|vision_end|>")
        turns = [(self.encode(turn.question), self.encode(turn.answer)) for turn in lesson.turns]
        if rng is not None and rng.random() < 0.2:
            asking, repeated = spelling(rng, self._plain_ids)
            turns.append((self.encode(asking) + repeated, repeated))
        labels = [-100] * len(ids)
        for number, (question, answer) in enumerate(turns):
            asked = (self.encode(f"{TURN_START}user\n") if number else []) + question
            asked = asked + self.encode(f"{TURN_END}\n{TURN_START}assistant\n")
            told = answer + self.encode(TURN_END)
            after = self.encode("\n")
            ids = ids + asked + told + after
            labels = labels + [-100] * len(asked) + told + [-100] * len(after)
        return ids, labels, image_at

    def __call__(self, lessons: Sequence[Lesson], systems: Sequence[str]) -> Batch:
        """One row for each lesson."""
        return self.batch(lessons, [self.row(lesson, system) for lesson, system in zip(lessons, systems, strict=True)])

    def batch(self, lessons: Sequence[Lesson], rows: Sequence[Row]) -> Batch:
        """Rows made by `row`, padded to the longest."""
        width = max(len(ids) for ids, *_ in rows)
        input_ids = torch.full((len(rows), width), self.tokenizer.pad_token_id)
        labels = torch.full((len(rows), width), -100)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        positions = torch.zeros((3, len(rows), width), dtype=torch.long)
        for number, (ids, row_labels, image_at) in enumerate(rows):
            input_ids[number, : len(ids)] = torch.tensor(ids)
            labels[number, : len(ids)] = torch.tensor(row_labels)
            mask[number, : len(ids)] = 1
            positions[:, number, : len(ids)] = rope_positions(len(ids), image_at)
        return Batch(
            input_ids,
            labels,
            mask,
            positions,
            pixel_values([lesson.image for lesson in lessons]),
            [lesson.turns[0].subject for lesson in lessons],
        )


def rope_positions(length: int, image_at: int) -> Tensor:
    """Temporal, height and width positions of a row whose one picture begins at `image_at`, shape (3, length).

    The same numbers as the model's own `get_rope_index`, which walks through every row in Python.
    """
    cells = torch.arange(IMAGE_TOKENS)
    image = torch.stack([torch.zeros_like(cells), cells // CELLS, cells % CELLS]) + image_at
    after = torch.arange(length - image_at - IMAGE_TOKENS) + image_at + CELLS
    return torch.cat([torch.arange(image_at).expand(3, -1), image, after.expand(3, -1)], dim=1)


def label_logits(model: Qwen3VLForConditionalGeneration, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Logits at the positions that predict a label, those labels, and the row of each."""
    hidden = model.model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        pixel_values=batch.pixels,
        image_grid_thw=image_grids(len(batch.input_ids)),
        use_cache=False,
    ).last_hidden_state
    targets = batch.labels[:, 1:]
    chosen = targets != -100
    rows = torch.arange(len(targets))[:, None].expand_as(targets)[chosen]
    return model.lm_head(hidden[:, :-1][chosen]), targets[chosen], rows


def lesson_batches(collator: Collator, seed: int, batch_size: int) -> Iterator[Batch]:
    """Batches for part two; rows of about the same length come together, so that little of a batch is padding.

    In a tenth of the rounds the system prompts are a page long, and the batches an eighth of their size.
    """
    rng = random.Random(f"batches:{seed}")  # noqa: S311 - training data, not secrets
    index = 0
    while True:
        long = rng.random() < 0.1
        size = batch_size // 8 if long else batch_size
        lessons = [draw_lesson(seed + 2, index + item, turns=rng.randint(1, 3)) for item in range(4 * size)]
        index += len(lessons)
        prompts = [long_prompt(rng) if long else short_prompt(rng) if rng.random() < 0.5 else "" for _ in lessons]
        rows = [collator.row(lesson, prompt, rng) for lesson, prompt in zip(lessons, prompts, strict=True)]
        by_length = sorted(range(len(rows)), key=lambda item: len(rows[item][0]))
        parts = [by_length[start : start + size] for start in range(0, len(rows), size)]
        for part in rng.sample(parts, len(parts)):
            yield collator.batch([lessons[item] for item in part], [rows[item] for item in part])


@torch.no_grad()
def check_layout(model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, collator: Collator) -> None:
    """Stop unless tokens, pixels and positions are those of the saved processor and model."""
    lesson = draw_lesson(0, 0, turns=1)
    system = "You answer questions about an image."
    messages = [
        {"role": "system", "content": [{"type": "text", "text": system}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": lesson.turns[0].question}]},
        {"role": "assistant", "content": [{"type": "text", "text": lesson.turns[0].answer}]},
    ]
    text = processor.apply_chat_template(messages)
    inputs = processor(text=[text], images=[lesson.image], return_tensors="pt")
    batch = collator([lesson], [system])
    positions, _ = model.model.get_rope_index(
        inputs["input_ids"], mm_token_type_ids=inputs["mm_token_type_ids"], image_grid_thw=inputs["image_grid_thw"]
    )
    if inputs["input_ids"].tolist() != batch.input_ids.tolist():
        raise RuntimeError("the collator's tokens are not the chat template's")
    if not torch.equal(positions, batch.position_ids):
        raise RuntimeError("rope_positions differs from the model's get_rope_index")
    if not torch.allclose(inputs["pixel_values"], batch.pixels, atol=1e-5):
        raise RuntimeError("pixel_values differs from the image processor's")
