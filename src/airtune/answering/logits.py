"""The steps from a model's logits to the next token: repetition penalty, temperature, top-k, top-p, draw.

They are handed to ``generate`` as its only logits processors, with its own sampling off, so that neither the base
model's generation settings nor a later version of the library changes what was configured. Temperature, top-k and
top-p are the library's own; the penalty and the draw are ours, because a penalty must not see the padding on the left
of a shorter prompt, and because each sample draws from its own seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from airtune.answering.decoding import Decoding, sample_seed
from airtune.errors import DivergedError, Problem


class FiniteLogits(LogitsProcessor):  # type: ignore[misc]
    """Refuses a model whose first logits are not numbers, instead of printing noise."""

    def __init__(self) -> None:
        self._checked = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Returns ``scores``, of shape (rows, vocabulary), as they are.

        Raises:
            DivergedError: a logit is NaN.
        """
        del input_ids
        if not self._checked and bool(scores.isnan().any()):
            raise DivergedError(
                Problem(
                    "model",
                    "its logits are not numbers (NaN)",
                    fix="train with BFloat16 or Float32 instead of Float16, or with a lower learning rate",
                )
            )
        self._checked = True
        return scores


class RepetitionPenalty(LogitsProcessor):  # type: ignore[misc]
    """Makes tokens less likely that the prompt or the answer already has.

    Args:
        penalty: divides positive logits and multiplies negative ones, once for each distinct token.
        attention_mask: of the prompt, shape (rows, prompt length); 0 where it is padded.
    """

    def __init__(self, penalty: float, attention_mask: torch.Tensor) -> None:
        self._penalty = penalty
        self._mask = attention_mask
        self._seen: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Penalised logits of shape (rows, vocabulary); ``input_ids`` has all tokens so far, (rows, length)."""
        prompt = self._mask.shape[1]
        if self._seen is None:
            self._seen = torch.zeros_like(scores, dtype=torch.bool)
            ids = input_ids[:, :prompt].clamp(max=scores.shape[1] - 1)  # an image placeholder may lie beyond
            rows, columns = torch.nonzero(self._mask.to(scores.device), as_tuple=True)
            self._seen[rows, ids[rows, columns]] = True
        if input_ids.shape[1] > prompt:
            self._seen.scatter_(1, input_ids[:, -1:], True)
        penalised = torch.where(scores < 0, scores * self._penalty, scores / self._penalty)
        return torch.where(self._seen, penalised, scores)


class SeededDraw(LogitsProcessor):  # type: ignore[misc]
    """Draws each row's token from its own stream of random numbers, and leaves only that token possible.

    The stream is one uniform number a token from a generator on the CPU, so that it is the same on every device; the
    token is where the cumulative distribution passes it.

    Args:
        seeds: one for each row.
        max_new_tokens: how many tokens may be drawn.
        prompt: length of the (padded) prompt.
    """

    def __init__(self, seeds: Sequence[int], max_new_tokens: int, prompt: int) -> None:
        self._prompt = prompt
        self._uniform = torch.stack(
            [
                torch.rand(max_new_tokens, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
                for seed in seeds
            ]
        )

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """0 for the drawn token and minus infinity for all others, shape (rows, vocabulary)."""
        step = input_ids.shape[1] - self._prompt
        cumulative = scores.double().softmax(dim=-1).cumsum(dim=-1)
        wanted = self._uniform[:, step, None].to(scores.device) * cumulative[:, -1:]
        # right=True: the first token whose cumulative probability exceeds the number, so never one of probability 0.
        drawn = torch.searchsorted(cumulative, wanted, right=True)
        # Rounding may put the number at the very end: then the last token that is possible at all.
        last = (cumulative < cumulative[:, -1:]).sum(dim=-1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter_(1, torch.minimum(drawn, last), 0.0)


def logits_processors(decoding: Decoding, attention_mask: torch.Tensor, samples: Sequence[str]) -> LogitsProcessorList:
    """The steps of ``decoding`` for one batch.

    Args:
        decoding: how to decode.
        attention_mask: of the prompts, shape (rows, prompt length).
        samples: the ids of the rows' samples: their draws are seeded with them.
    """
    steps = LogitsProcessorList([FiniteLogits()])
    if decoding.repetition_penalty != 1.0:
        steps.append(RepetitionPenalty(decoding.repetition_penalty, attention_mask))
    if decoding.name == "greedy":
        return steps
    if decoding.temperature != 1.0:
        steps.append(TemperatureLogitsWarper(float(decoding.temperature)))
    if decoding.top_k > 0:
        steps.append(TopKLogitsWarper(decoding.top_k))
    if decoding.top_p < 1.0:
        steps.append(TopPLogitsWarper(decoding.top_p))
    seeds = [sample_seed(decoding.seed, sample) for sample in samples]
    steps.append(SeededDraw(seeds, decoding.max_new_tokens, attention_mask.shape[1]))
    return steps
