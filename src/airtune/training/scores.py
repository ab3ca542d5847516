"""How good the model's real answers are while it trains: what early stopping may go by instead of the loss.

The argmax of the logits along the right answer says little: each of its tokens was computed with all the right ones
before it. So answers are generated, greedily, and scored as :mod:`airtune.evaluation` will score them at the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from airtune.answering.answerer import Answerer, Reply
from airtune.answering.decoding import greedy
from airtune.answering.scoring import METRICS, score, summarise
from airtune.datasets.pictures.images import Images
from airtune.datasets.record import Record
from airtune.modeling.encoding import Encoder
from airtune.runspec.answers import parse_answer
from airtune.runspec.resolved import ResolvedRun

SAMPLES: Final = 32
"""So many validation samples are answered: enough to see a trend, and seconds and not minutes an epoch."""


@dataclass(frozen=True, slots=True)
class _Scored:
    """One answer and what it is worth."""

    scores: Mapping[str, float]
    answer: Mapping[str, Any] | None
    tokens: int
    cut_off: bool


class Scores:
    """Answers a fixed choice of validation samples with the model as it is.

    Args:
        model: the one that trains, not wrapped for several devices.
        run: the resolved run.
        encoder: of the model's processor.
        stops: the tokens at which an answer ends.
        images: the dataset's pictures.
        records: the validation samples; at most :data:`SAMPLES` of them, evenly spread, are answered each time.
    """

    def __init__(
        self,
        model: Any,
        run: ResolvedRun,
        encoder: Encoder,
        stops: Collection[int],
        images: Images,
        records: Sequence[Record],
    ) -> None:
        self._run = run
        self._answerer = Answerer(model, encoder, stops, images, run.system_prompt)
        count = min(SAMPLES, len(records))
        self.records = [records[position * len(records) // count] for position in range(count)]

    def __call__(self, pause: Callable[[], None]) -> dict[str, float]:
        """The scores of the task by name (:data:`airtune.answering.scoring.METRICS`); the model is in evaluation mode.

        Args:
            pause: called before each batch; may raise to end it.

        Raises:
            UnusableImageError: a picture is gone or has changed since validation.
            GpuMemoryError: a single sample does not fit.
            DivergedError: the model's logits are not numbers.
        """
        decoding = greedy(self._run.sampling)
        scored: list[_Scored] = []
        for batch in self._answerer.encoded(self._answerer.plan(self.records, decoding.max_new_tokens)):
            pause()
            replies = self._answerer.answer(batch, decoding)
            scored += [self._scored(record, reply) for record, reply in zip(batch.records, replies, strict=True)]
        summary = summarise(self._run.task, scored)
        return {name: summary[name] for name in METRICS[self._run.task]}

    def _scored(self, record: Record, reply: Reply) -> _Scored:
        answer = parse_answer(self._run.task, reply.text)
        scores = score(self._run.task, json.loads(record.truth), answer)
        return _Scored(scores, answer.parsed, reply.tokens, reply.cut_off)
