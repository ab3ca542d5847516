"""From samples to answers: batches of similar length, left-padded, generated with a cache of keys and values.

The evaluation, the reload of a published bundle and the scores while training all answer through this module, in the
same batches, so that their greedy answers can be compared letter by letter.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from transformers import GenerationConfig

from airtune.answering.batches import cache_bytes_per_token, plan_batches
from airtune.answering.decoding import Decoding
from airtune.answering.logits import logits_processors
from airtune.errors import GpuMemoryError, Problem
from airtune.modeling.encoding import Encoded, Encoder
from airtune.modeling.films import Film


class Question(Protocol):
    """What is asked: a :class:`airtune.datasets.record.Record`, of which only this matters here."""

    @property
    def id(self) -> str:
        """Names the sample."""

    @property
    def prompt(self) -> str:
        """The user's text."""

    @property
    def images(self) -> tuple[str, ...]:
        """Keys of its pictures."""

    @property
    def width(self) -> int:
        """Of the first picture, in pixels."""

    @property
    def height(self) -> int:
        """Of the first picture, in pixels."""


Asked = TypeVar("Asked", bound=Question)


class Pictures(Protocol):
    """Where the pictures are: :class:`airtune.datasets.pictures.images.Images`."""

    def load_all(self, record: Any) -> list[Any]:
        """The pictures or the video of one question."""

    def films(self, record: Any) -> list[Film]:
        """The videos of one question, none of them opened."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said.

    Attributes:
        text: without special tokens and without a stop string.
        tokens: how many were generated, the stop token included.
        cut_off: whether the longest allowed length ended it.
    """

    text: str
    tokens: int
    cut_off: bool


@dataclass(frozen=True, slots=True)
class Batch(Generic[Asked]):
    """Samples that are answered together, and their encoded prompts."""

    records: tuple[Asked, ...]
    encoded: tuple[Encoded, ...]


class Answerer:
    """Answers samples with one loaded model.

    Args:
        model: as :func:`airtune.modeling.loading.load_model` gives it, with or without an adapter.
        encoder: of the model's processor.
        stops: the tokens at which an answer ends.
        images: the dataset's pictures.
        system_prompt: stands before every conversation; may be empty.
    """

    def __init__(
        self, model: Any, encoder: Encoder, stops: Collection[int], images: Pictures, system_prompt: str
    ) -> None:
        # An adapter's layers stand inside the base model; its own generate() does not copy settings around.
        self._model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._encoder = encoder
        self._stops = sorted(stops)
        self._images = images
        self._system_prompt = system_prompt

    def plan(self, records: Sequence[Asked], max_new_tokens: int) -> list[tuple[Asked, ...]]:
        """The batches, longest prompts first; the same records give the same batches on every machine."""
        lengths = [
            self._encoder.prompt_length(
                self._system_prompt,
                record.prompt,
                [(record.height, record.width)] * len(record.images),
                self._images.films(record),
            )
            for record in records
        ]
        per_token = cache_bytes_per_token(self._model.config.to_dict(), self._model.dtype.itemsize)
        planned = plan_batches(lengths, max_new_tokens, per_token)
        return [tuple(records[position] for position in batch) for batch in planned]

    def encoded(self, batches: Sequence[tuple[Asked, ...]]) -> Iterator[Batch[Asked]]:
        """Encodes batch after batch, each while the one before it is being answered.

        Raises:
            UnusableImageError: a picture is gone or has changed since validation.
            DataError: the processor refuses a sample.
        """
        with ThreadPoolExecutor(1) as thread:
            ahead: Future[Batch[Asked]] | None = None
            for position in range(len(batches)):
                current = ahead or thread.submit(self._encode, batches[position])
                following = position + 1
                ahead = thread.submit(self._encode, batches[following]) if following < len(batches) else None
                yield current.result()

    def answer(self, batch: Batch[Asked], decoding: Decoding) -> list[Reply]:
        """The replies to a batch, in its order. Where memory does not hold it, it is halved.

        Raises:
            GpuMemoryError: a single sample does not fit.
            DivergedError: the model's logits are not numbers.
        """
        try:
            return self._generate(batch, decoding)
        except torch.OutOfMemoryError as error:
            if len(batch.records) == 1:
                raise GpuMemoryError(
                    Problem(
                        f"sample {batch.records[0].id}",
                        f"answering it alone ({batch.encoded[0].length:,} prompt tokens, up to "
                        f"{decoding.max_new_tokens:,} new ones) needs more memory than the GPU has",
                        fix="lower maxPixels or maxNewTokens, quantize, or take a larger GPU",
                    )
                ) from error
        torch.cuda.empty_cache()
        half = len(batch.records) // 2
        first = Batch(batch.records[:half], batch.encoded[:half])
        second = Batch(batch.records[half:], batch.encoded[half:])
        return self.answer(first, decoding) + self.answer(second, decoding)

    def _encode(self, records: tuple[Asked, ...]) -> Batch[Asked]:
        encoded = [
            self._encoder.encode(self._system_prompt, record.prompt, self._images.load_all(record))
            for record in records
        ]
        return Batch(records, tuple(encoded))

    def _generate(self, batch: Batch[Asked], decoding: Decoding) -> list[Reply]:
        inputs = {
            name: self._placed(tensor) for name, tensor in self._encoder.collate(batch.encoded, padding="left").items()
        }
        prompt = inputs["input_ids"].shape[1]
        config = self._config(decoding)
        options: dict[str, Any] = {"tokenizer": self._encoder.processor.tokenizer} if decoding.stop_strings else {}
        steps = logits_processors(decoding, inputs["attention_mask"], [record.id for record in batch.records])
        with self._generating_with(config), torch.no_grad():  # not inference_mode: the model may be trained on
            output = self._model.generate(**inputs, generation_config=config, logits_processor=steps, **options)
        return [self._reply(row.tolist(), decoding) for row in output[:, prompt:].cpu()]

    def _config(self, decoding: Decoding) -> GenerationConfig:
        """Plain settings: no sampling of the library's own, whatever the model's ``generation_config.json`` says."""
        return GenerationConfig(
            max_new_tokens=decoding.max_new_tokens,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            eos_token_id=self._stops,
            pad_token_id=self._encoder.pad_id,
            stop_strings=list(decoding.stop_strings) or None,
        )

    @contextlib.contextmanager
    def _generating_with(self, config: GenerationConfig) -> Iterator[None]:
        # generate() fills what a given configuration leaves out from the model's own (penalties, forced tokens ...).
        own = self._model.generation_config
        self._model.generation_config = config
        try:
            yield
        finally:
            self._model.generation_config = own

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor:
        placed = tensor.to(self._model.device)
        return placed.to(self._model.dtype) if placed.is_floating_point() else placed

    def _reply(self, tokens: list[int], decoding: Decoding) -> Reply:
        stop = next((place for place, token in enumerate(tokens) if token in self._stops), None)
        said = tokens if stop is None else tokens[:stop]
        if stop is None:
            # A row that a stop string ended is filled up with padding until the longest row is done.
            while said and said[-1] == self._encoder.pad_id:
                said = said[:-1]
        text = str(self._encoder.processor.tokenizer.decode(said, skip_special_tokens=True))
        places = [text.find(string) for string in decoding.stop_strings if string in text]
        cut_off = stop is None and not places and len(tokens) >= decoding.max_new_tokens
        return Reply(text[: min(places)] if places else text, len(said) + (stop is not None), cut_off)
