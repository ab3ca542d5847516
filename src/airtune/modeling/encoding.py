"""From texts and pictures to tensors: one picture at a time, one sample at a time, then a padded batch.

A picture is processed alone and once, whatever number of samples show it. Nothing is ever cut off.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from PIL import Image

from airtune.errors import DataError, Problem
from airtune.modeling.conversation import EndOfTurn, end_of_turn, render_prompt
from airtune.modeling.films import Film, frame_numbers, processed
from airtune.modeling.picture_tokens import image_tokens

IGNORED: Final = -100
"""The label of a token on which nothing is learned."""


NO_PICTURE: Final = -1
"""Stands in :attr:`Encoded.picture` for a token of text."""

TOKEN_LEVEL: Final = frozenset({"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"})
"""What a processor says of each token; everything else that it gives is of the pictures."""

Vision = dict[str, torch.Tensor]
"""What the model gets of one picture (``pixel_values``, ``image_grid_thw``, ``image_sizes`` ...), as its processor
made it of that picture alone."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One processed picture, or one processed video.

    Attributes:
        tokens: the token-level inputs that its placeholder in the text becomes, each of shape (tokens,).
        vision: what the model sees of it.
        moving: whether it is a video.
    """

    tokens: dict[str, torch.Tensor]
    vision: Vision
    moving: bool = False

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        return sum(size_in_bytes(tensors) for tensors in (self.tokens, self.vision))


@dataclass(frozen=True, slots=True)
class Encoded:
    """One sample as numbers.

    Attributes:
        tokens: per token-level input of the model (``input_ids``, ``attention_mask``, ``mm_token_type_ids`` ...) a
            tensor of shape (length,).
        labels: shape (length,): the token itself where it is to be learned, else -100; None for a prompt alone.
        vision: its pictures in their order.
        picture: shape (length,): which of its pictures a token belongs to, counted from 0; -1 for text.
    """

    tokens: dict[str, torch.Tensor]
    labels: torch.Tensor | None
    vision: tuple[Vision, ...]
    picture: torch.Tensor

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
        self._film_tokens: dict[tuple[int, float, int, int], int] = {}

    def prompt_text(self, system_prompt: str, images: int, prompt: str, *, videos: int = 0) -> str:
        """The text before the answer, one placeholder a picture and one a video."""
        return render_prompt(self.processor, system_prompt, images, prompt, videos=videos)

    def target_ids(self, target: str) -> list[int]:
        """The tokens of an answer and of the end of its turn, without any special tokens put around them."""
        ids = self.processor.tokenizer(target, add_special_tokens=False)["input_ids"]
        return [int(token) for token in ids] + list(self.end.ids)

    def prompt_length(
        self, system_prompt: str, prompt: str, sizes: Sequence[tuple[int, int]], films: Sequence[Film] = ()
    ) -> int:
        """Tokens of the prompt, from the sizes of pictures and videos alone: none is opened.

        Args:
            system_prompt: text of the system turn, or empty.
            prompt: the user's text.
            sizes: (height, width) of each picture in pixels.
            films: videos.
        """
        text = self.prompt_text(system_prompt, len(sizes), prompt, videos=len(films))
        # Each placeholder becomes as many tokens as its picture or video has.
        shown = sum(image_tokens(self.processor, list(sizes))) + sum(map(self.film_length, films))
        return self.text_length(text) - len(sizes) - len(films) + shown

    def film_length(self, film: Film) -> int:
        """Tokens of a video, from its size, length and rate alone; how many frames are shown decides, not what is seen.

        Raises:
            SettingsError: the processor takes no videos.
        """
        key = (film.frames, film.rate, film.height, film.width)
        if key not in self._film_tokens:
            blank = np.zeros((len(frame_numbers(self.processor, film)), film.height, film.width, 3), dtype=np.uint8)
            self._film_tokens[key] = int(processed(self.processor, film, blank)["input_ids"].shape[1])
        return self._film_tokens[key]

    def text_length(self, text: str) -> int:
        """Tokens of a rendered prompt in which each picture is one placeholder."""
        return len(self.processor.tokenizer(text, add_special_tokens=self._adds_special_tokens(text))["input_ids"])

    def see(self, shown: Image.Image | Film) -> Picture:
        """One picture or one video, processed alone.

        Raises:
            DataError: the processor cannot take it.
            SettingsError: the processor takes no videos.
        """
        if isinstance(shown, Image.Image):
            with _refused():
                found = self._processed(text=[self.processor.image_token], images=[shown], add_special_tokens=False)
            return Picture(*_by_level(found))
        frames = shown.read(frame_numbers(self.processor, shown))
        with _refused():
            return Picture(*_by_level(processed(self.processor, shown, frames)), moving=True)

    def encode(
        self,
        system_prompt: str,
        prompt: str,
        images: Sequence[Image.Image | Film | Picture],
        target: str | None = None,
    ) -> Encoded:
        """One sample; with a target the labels are the answer and the end of its turn, and nothing else.

        Prompt and answer are tokenised apart and joined, so that training sees exactly the prompt tokens that
        generation will start from. The placeholder of a picture is one control token, which text around it is
        never merged with; it is replaced by the tokens that the processor makes of it.

        Args:
            system_prompt: text of the system turn, or empty.
            prompt: the user's text.
            images: the pictures or videos, or what :meth:`see` made of them before.
            target: the assistant's text; None for a prompt alone.

        Raises:
            DataError: the processor cannot take this sample, or no label is left.
        """
        pictures = [image if isinstance(image, Picture) else self.see(image) for image in images]
        videos = sum(picture.moving for picture in pictures)
        text = self.prompt_text(system_prompt, len(pictures) - videos, prompt, videos=videos)
        special = self._adds_special_tokens(text)
        if pictures:
            ids = self.processor.tokenizer(text, add_special_tokens=special, return_tensors="pt")["input_ids"][0]
            tokens, picture = self._with_pictures(ids, pictures)
        else:
            with _refused():
                tokens, _ = _by_level(self._processed(text=[text], add_special_tokens=special))
            picture = torch.full_like(tokens["input_ids"], NO_PICTURE)
        tokens.setdefault("attention_mask", torch.ones_like(tokens["input_ids"]))
        encoded = Encoded(tokens, None, tuple(each.vision for each in pictures), picture)
        return encoded if target is None else self._with_target(encoded, target)

    def collate(self, samples: Sequence[Encoded], *, padding: Literal["left", "right"]) -> dict[str, torch.Tensor]:
        """One batch of equal length as the model takes it: see :meth:`pad`, and the pictures of all rows joined."""
        return {**self.pad(samples, padding), **join_pictures([each for sample in samples for each in sample.vision])}

    def pad(self, samples: Sequence[Encoded], padding: Literal["left", "right"]) -> dict[str, torch.Tensor]:
        """Samples below each other: padded on the right to train, on the left to generate.

        Returns:
            Token-level inputs, and ``labels`` where every sample has some, of shape (rows, longest).
        """
        longest = max(sample.length for sample in samples)
        batch = {
            name: torch.stack([_pad(row, longest, self._padding_value(name), padding) for row in rows])
            for name, rows in token_level([sample.tokens for sample in samples]).items()
        }
        labels = [row.labels for row in samples if row.labels is not None]
        if len(labels) == len(samples):
            batch["labels"] = torch.stack([_pad(row, longest, IGNORED, padding) for row in labels])
        return batch

    def _processed(self, **arguments: Any) -> Any:
        return self.processor(**arguments, return_tensors="pt")

    def _with_pictures(
        self, ids: torch.Tensor, pictures: Sequence[Picture]
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The tokens of a text with each placeholder replaced, and whose picture each token is."""
        name = "video_token" if pictures[0].moving else "image_token"  # a sample shows pictures or a video
        placeholder = self.processor.tokenizer.convert_tokens_to_ids(getattr(self.processor, name))
        places = (ids == placeholder).nonzero().flatten().tolist()
        if len(places) != len(pictures):
            raise DataError(
                Problem("sample", f"its text has {len(places)} places for its {len(pictures)} pictures",
                        fix=f"keep the model's own mark of a picture, {self.processor.image_token}, out of the text")
            )  # fmt: skip
        parts: list[dict[str, torch.Tensor]] = []
        owners: list[torch.Tensor] = []
        for number, (begin, end) in enumerate(zip([-1, *places], [*places, len(ids)], strict=True), start=-1):
            if number >= 0:
                parts.append(pictures[number].tokens)
                owners.append(torch.full_like(parts[-1]["input_ids"], number))
            parts.append({"input_ids": ids[begin + 1 : end], "attention_mask": torch.ones_like(ids[begin + 1 : end])})
            owners.append(torch.full_like(parts[-1]["input_ids"], NO_PICTURE))
        return {name: torch.cat(values) for name, values in token_level(parts).items()}, torch.cat(owners)

    def _with_target(self, prompt: Encoded, target: str) -> Encoded:
        ids = prompt.tokens["input_ids"]
        answer = torch.tensor(self.target_ids(target), dtype=ids.dtype)
        prompt_length = prompt.length
        learned = torch.tensor([int(token) not in self.never_labels for token in answer])
        labels = torch.full((prompt_length + answer.shape[0],), IGNORED, dtype=torch.long)
        labels[prompt_length:] = torch.where(learned, answer, torch.full_like(answer, IGNORED))
        if not bool((labels != IGNORED).any()):
            raise DataError(Problem("sample", "has nothing to learn: its answer is empty"))
        continued = {"input_ids": answer, "attention_mask": torch.ones_like(answer)}
        joined = {name: torch.cat(values) for name, values in token_level([prompt.tokens, continued]).items()}
        picture = torch.cat([prompt.picture, torch.full_like(answer, NO_PICTURE)])
        return Encoded(joined, labels, prompt.vision, picture)

    def _adds_special_tokens(self, text: str) -> bool:
        # The library's own rule for rendered chats: a template that writes the first token must not get a second.
        first = self.processor.tokenizer.bos_token
        return not (first is not None and text.startswith(first))

    def _padding_value(self, name: str) -> int:
        return self.pad_id if name == "input_ids" else 0


@contextmanager
def _refused() -> Iterator[None]:
    """What a processor does not take, in words."""
    try:
        yield
    except (ValueError, IndexError, RuntimeError) as error:
        raise DataError(Problem("sample", f"the model's processor refuses it: {error}")) from error


def token_level(parts: Sequence[dict[str, torch.Tensor]]) -> dict[str, list[torch.Tensor]]:
    """By name the token-level inputs of several pieces of text; a piece without one has zeros there."""
    types = {name: value.dtype for part in parts for name, value in part.items()}
    return {
        name: [part[name] if name in part else torch.zeros_like(part["input_ids"], dtype=dtype) for part in parts]
        for name, dtype in types.items()
    }


def join_pictures(pictures: Sequence[Vision]) -> dict[str, torch.Tensor]:
    """Several pictures as one model takes them, in this order."""
    names = dict.fromkeys(name for picture in pictures for name in picture)
    return {name: join([picture[name] for picture in pictures if name in picture]) for name in names}


def size_in_bytes(tensors: dict[str, torch.Tensor]) -> int:
    """How much memory these tensors take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def join(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """What several pictures have of one name, joined along the first axis; other axes are filled up with zeros."""
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


def _by_level(features: Any) -> tuple[dict[str, torch.Tensor], Vision]:
    """What a processor made of one text with at most one picture: of its tokens, and of the picture."""
    tokens = {name: value[0] for name, value in features.items() if name in TOKEN_LEVEL}
    return tokens, {name: value for name, value in features.items() if name not in TOKEN_LEVEL}
