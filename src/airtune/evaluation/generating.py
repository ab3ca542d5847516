"""Generates the answers that are still missing, and writes each batch down as soon as it is there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from airtune.answering.answerer import Answerer, Reply
from airtune.answering.scoring import score
from airtune.catalog.registry import entry_of
from airtune.datasets.pictures.images import Images
from airtune.datasets.record import Record
from airtune.errors import PreemptedError, Problem
from airtune.evaluation.contestants import Loaded, loaded
from airtune.evaluation.predictions import Prediction, PredictionFile
from airtune.evaluation.progress import Progress
from airtune.evaluation.stage import Evaluation, Pass
from airtune.launch import Orphan
from airtune.modeling.conversation import stop_token_ids
from airtune.modeling.encoding import Encoder
from airtune.modeling.loading import load_processor
from airtune.runspec.answers import parse_answer
from airtune.stores import layout

_PUSH_EVERY_S: Final = 30.0
"""A store other than this disk gets the rows so often: what a lost machine costs."""


def generate_missing(evaluation: Evaluation, answers: PredictionFile) -> None:
    """Loads what has to answer, one after the other, and adds the missing rows to ``answers``."""
    Generating(evaluation, answers).run()


class Generating:
    """The work of one process."""

    def __init__(self, evaluation: Evaluation, answers: PredictionFile) -> None:
        self._evaluation = evaluation
        self._answers = answers
        self._entry = entry_of(evaluation.resolved)
        self._processor = load_processor(evaluation.contestants.base, evaluation.resolved, entry=self._entry)
        self._images = Images(evaluation.facts["root_uri"])
        self._orphan = Orphan()
        self._pushed = time.monotonic()
        reused = len(evaluation.passes) * len(evaluation.records) - answers.missing
        if reused:
            print(f"evaluate: {reused:,} answers are there already and are kept", flush=True)
        self._progress = Progress(answers.missing)

    def run(self) -> None:
        """Every group of models that one loading serves, in turn.

        Raises:
            PreemptedError: whoever started this process is gone; the answers so far are kept.
        """
        evaluation = self._evaluation
        for models in evaluation.contestants.groups():
            passes = [answering for answering in evaluation.passes if answering.model in models]
            if any(self._lacking(passes, evaluation.records)):
                with loaded(evaluation.contestants, models, evaluation.resolved, self._entry) as holder:
                    self._answer_all(holder, passes)

    def _answer_all(self, holder: Loaded, passes: Sequence[Pass]) -> None:
        resolved = self._evaluation.resolved
        stops = stop_token_ids(self._processor, holder.model.generation_config)
        encoder = Encoder(self._processor, stops)
        answerer = Answerer(holder.model, encoder, stops, self._images, resolved.system_prompt)
        planned = answerer.plan(self._evaluation.records, resolved.sampling.max_new_tokens)
        # A batch that was interrupted is answered whole again: in low precision its rows depend on their neighbours.
        unfinished = [batch for batch in planned if any(self._lacking(passes, batch))]
        for batch in answerer.encoded(unfinished):
            for answering in passes:
                lacking = sum(self._lacking([answering], batch.records))
                if not lacking:
                    continue
                if self._orphan:
                    raise PreemptedError(Problem("evaluation", "the launcher is gone, so nobody waits for the answers"))
                with holder.answering_as(answering.model):
                    replies = answerer.answer(batch, answering.decoding)
                self._keep(answering, batch.records, replies)
                self._progress.add(lacking, f"{answering.model}, {answering.decoding.name}")

    def _lacking(self, passes: Sequence[Pass], records: Sequence[Record]) -> Iterator[bool]:
        """Per record and pass, whether the answer is missing."""
        return (self._answers.lacks(self._evaluation.key(each, record)) for record in records for each in passes)

    def _keep(self, answering: Pass, records: Sequence[Record], replies: Sequence[Reply]) -> None:
        self._answers.add(self._row(answering, record, reply) for record, reply in zip(records, replies, strict=True))
        if time.monotonic() - self._pushed > _PUSH_EVERY_S:
            self._evaluation.run.push(layout.PREDICTIONS)
            self._pushed = time.monotonic()

    def _row(self, answering: Pass, record: Record, reply: Reply) -> Prediction:
        task = self._evaluation.resolved.task
        truth: dict[str, Any] = json.loads(record.truth)
        answer = parse_answer(task, reply.text)
        return Prediction(
            key=self._evaluation.key(answering, record),
            sample=record.id,
            model=answering.model,
            decoding=answering.decoding.name,
            prompt=record.prompt,
            images=record.images,
            truth=truth,
            text=reply.text,
            answer=answer.parsed,
            problem=answer.problem,
            scores=score(task, truth, answer),
            tokens=reply.tokens,
            cut_off=reply.cut_off,
        )
