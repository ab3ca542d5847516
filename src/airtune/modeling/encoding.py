"""From texts and pictures to tensors: one sample at a time, then a padded batch. Nothing is ever cut off."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from PIL import Image

from airtune.errors import DataError, Problem
from airtune.modeling.conversation import EndOfTurn, end_of_turn, render_prompt
from airtune.modeling.loading import image_tokens

IGNORED: Final = -100
"""The label of a token on which nothing is learned."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One sample as numbers.

    Attributes:
        tokens: per token-level input of the model (``input_ids``, ``attention_mask``, ``mm_token_type_ids`` ...) a
            tensor of shape (length,).
        labels: shape (length,): the token itself where it is to be learned, else -100; None for a prompt alone.
        vision: what the model gets of the pictures (``pixel_values``, ``image_grid_thw`` ...), shaped as the
            processor made it for this sample.
    """

    tokens: dict[str, torch.Tensor]
    labels: torch.Tensor | None
    vision: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """How many tokens the sample has."""
        return int(self.tokens["input_ids"].shape[0])


class Encoder:
    """Encodes samples with one processor.

    Args:
        processor: see :func:`airtune.modeling.loading.load_processor`.
        stops: the tokens at which generation stops, see :func:`airtune.modeling.conversation.stop_token_ids`.
    """

    def __init__(self, processor: Any, stops: Collection[int]) -> None:
        self.processor = processor
        self.end: EndOfTurn = end_of_turn(processor, stops)
        tokenizer = processor.tokenizer
        # A padding token that is a word to the model is no padding; the end token, masked, is harmless.
        self.pad_id = int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.end.ids[-1])
        self.never_labels = frozenset(
            int(token)
            for token in (
                getattr(processor, "image_token_id", None),
                getattr(processor, "video_token_id", None),
                tokenizer.pad_token_id,
            )
            if token is not None and int(token) not in self.end.ids
        )

    def prompt_text(self, system_prompt: str, images: int, prompt: str) -> str:
        """The text before the answer, one placeholder a picture."""
        return render_prompt(self.processor, system_prompt, images, prompt)

    def target_ids(self, target: str) -> list[int]:
        """The tokens of an answer and of the end of its turn, without any special tokens put around them."""
        ids = self.processor.tokenizer(target, add_special_tokens=False)["input_ids"]
        return [int(token) for token in ids] + list(self.end.ids)

    def prompt_length(self, system_prompt: str, prompt: str, sizes: Sequence[tuple[int, int]]) -> int:
        """Tokens of the prompt, from the pictures' sizes alone: none is opened.

        Args:
            system_prompt: text of the system turn, or empty.
            prompt: the user's text.
            sizes: (height, width) of each picture in pixels.
        """
        text = self.prompt_text(system_prompt, len(sizes), prompt)
        # Each placeholder becomes as many tokens as its picture has.
        return self.text_length(text) - len(sizes) + sum(image_tokens(self.processor, list(sizes)))

    def text_length(self, text: str) -> int:
        """Tokens of a rendered prompt in which each picture is one placeholder."""
        return len(self.processor.tokenizer(text, add_special_tokens=self._adds_special_tokens(text))["input_ids"])

    def encode(
        self, system_prompt: str, prompt: str, images: Sequence[Image.Image], target: str | None = None
    ) -> Encoded:
        """One sample; with a target the labels are the answer and the end of its turn, and nothing else.

        Prompt and answer are tokenised apart and joined, so that training sees exactly the prompt tokens that
        generation will start from.

        Raises:
            DataError: the processor cannot take this sample, or no label is left.
        """
        text = self.prompt_text(system_prompt, len(images), prompt)
        try:
            features = self.processor(
                text=[text],
                images=list(images) or None,
                add_special_tokens=self._adds_special_tokens(text),
                return_tensors="pt",
            )
        except (ValueError, IndexError, RuntimeError) as error:
            raise DataError(Problem("sample", f"the model's processor refuses it: {error}")) from error
        shape = features["input_ids"].shape
        tokens = {name: value[0] for name, value in features.items() if _is_token_level(value, shape)}
        tokens.setdefault("attention_mask", torch.ones_like(tokens["input_ids"]))
        vision = {name: value for name, value in features.items() if not _is_token_level(value, shape)}
        if target is None:
            return Encoded(tokens, None, vision)
        return self._with_target(tokens, vision, target)

    def collate(self, samples: Sequence[Encoded], *, padding: Literal["left", "right"]) -> dict[str, torch.Tensor]:
        """One batch of equal length: padded on the right to train, on the left to generate.

        Returns:
            Token-level inputs and ``labels`` of shape (rows, longest), and the pictures of all rows joined.
        """
        longest = max(sample.length for sample in samples)
        names = list(samples[0].tokens)
        batch = {
            name: torch.stack([_pad(row.tokens[name], longest, self._padding_value(name), padding) for row in samples])
            for name in names
        }
        labels = [row.labels for row in samples if row.labels is not None]
        if len(labels) == len(samples):
            batch["labels"] = torch.stack([_pad(row, longest, IGNORED, padding) for row in labels])
        for name in dict.fromkeys(name for row in samples for name in row.vision):
            batch[name] = join([row.vision[name] for row in samples if name in row.vision])
        return batch

    def _with_target(self, tokens: dict[str, torch.Tensor], vision: dict[str, torch.Tensor], target: str) -> Encoded:
        answer = torch.tensor(self.target_ids(target), dtype=tokens["input_ids"].dtype)
        prompt_length = tokens["input_ids"].shape[0]
        learned = torch.tensor([int(token) not in self.never_labels for token in answer])
        labels = torch.full((prompt_length + answer.shape[0],), IGNORED, dtype=torch.long)
        labels[prompt_length:] = torch.where(learned, answer, torch.full_like(answer, IGNORED))
        if not bool((labels != IGNORED).any()):
            raise DataError(Problem("sample", "has nothing to learn: its answer is empty"))
        continued = {"input_ids": answer, "attention_mask": torch.ones_like(answer)}
        joined = {
            name: torch.cat([value, continued.get(name, torch.zeros_like(answer)).to(value.dtype)])
            for name, value in tokens.items()
        }
        return Encoded(joined, labels, vision)

    def _adds_special_tokens(self, text: str) -> bool:
        # The library's own rule for rendered chats: a template that writes the first token must not get a second.
        first = self.processor.tokenizer.bos_token
        return not (first is not None and text.startswith(first))

    def _padding_value(self, name: str) -> int:
        return self.pad_id if name == "input_ids" else 0


def join(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """The pictures of several samples in one tensor: along the first axis; other axes are filled up with zeros."""
    if len({tensor.shape[1:] for tensor in tensors}) > 1:
        largest = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
        tensors = [_fill(tensor, largest) for tensor in tensors]
    return torch.cat(list(tensors))


def _fill(tensor: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    filled = tensor.new_zeros((tensor.shape[0], *sizes))
    filled[tuple(slice(length) for length in tensor.shape)] = tensor
    return filled


def _pad(row: torch.Tensor, length: int, value: int, side: str) -> torch.Tensor:
    missing = length - row.shape[0]
    return torch.nn.functional.pad(row, (missing, 0) if side == "left" else (0, missing), value=value)


def _is_token_level(value: Any, shape: torch.Size) -> bool:
    return isinstance(value, torch.Tensor) and value.shape == shape
