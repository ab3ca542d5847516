"""Early stopping by the score of real answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_runs import train_to_end, training_rows

pytestmark = pytest.mark.training

MakeRun = Callable[..., Any]


def score_of_saved_adapter(directory: Any) -> float:
    """What the evaluation will say of the model that the run has left: loaded anew, answering, scored."""
    from airtune.answering.answerer import Answerer
    from airtune.answering.decoding import greedy
    from airtune.answering.scoring import score
    from airtune.catalog.registry import entry
    from airtune.configs import configs_root
    from airtune.datasets.pictures.images import Images
    from airtune.datasets.record import read_records
    from airtune.modeling.adapters import load_adapter
    from airtune.modeling.conversation import stop_token_ids
    from airtune.modeling.encoding import Encoder
    from airtune.modeling.loading import load_model, load_processor
    from airtune.runspec.answers import parse_answer
    from airtune.runspec.resolved import Resolution

    run = Resolution.from_json(directory.store.read("resolution.json")).run
    base = configs_root() / "demo" / "tiny-vlm"
    model = load_adapter(
        load_model(base, run, entry=entry("qwen3vl"), for_training=False), directory.workspace / "model_adapter"
    )
    processor = load_processor(base, run)
    stops = stop_token_ids(processor, model.get_base_model().generation_config)
    images = Images(directory.read_json("dataset/facts.json")["root_uri"])
    answerer = Answerer(model, Encoder(processor, stops), stops, images, run.system_prompt)
    records = read_records(directory.path("dataset/records.parquet"), "validation")
    (batch,) = answerer.encoded([tuple(records)])
    replies = answerer.answer(batch, greedy(run.sampling))
    scores = [
        score(run.task, json.loads(record.truth), parse_answer(run.task, reply.text))["token_f1"]
        for record, reply in zip(records, replies, strict=True)
    ]
    return sum(scores) / len(scores)


def test_a_run_ends_early_by_its_answers_while_its_loss_still_falls(make_run: MakeRun) -> None:
    settings: dict[str, Any] = {"epochs": 12, "early_stopping_patience": 2, "learning_rate": 3e-3}
    by_answers = make_run(early_stopping_metric="exact_match", **settings)
    result = train_to_end(by_answers)
    rows = training_rows(by_answers, "evaluations.jsonl")
    assert [row["exact_match"] for row in rows] == [0.0, 0.0, 0.0]  # a few steps teach no model to answer
    assert rows[0]["loss"] > rows[1]["loss"] > rows[2]["loss"]
    assert result["stopped_early"]
    assert (result["steps"], result["kept_step"]) == (9, 3)
    log = (by_answers.workspace / "training" / "log.txt").read_text()
    assert "no better exact_match for 2 epochs: training ends" in log
    by_loss = make_run(**settings)
    assert train_to_end(by_loss)["steps"] > 9
    assert (
        "exact_match" not in training_rows(by_loss, "evaluations.jsonl")[0]
    )  # answers are generated only where they decide


def test_the_weights_with_the_best_answers_are_kept_and_score_the_same_loaded_anew(make_run: MakeRun) -> None:
    """Notes, 12: the score is that of generated answers, not of an argmax along the right one."""
    directory = make_run(
        epochs=12, early_stopping_patience=11, early_stopping_metric="token_f1", learning_rate=0.01
    )  # fmt: skip
    result = train_to_end(directory)
    rows = training_rows(directory, "evaluations.jsonl")
    scores = [row["token_f1"] for row in rows]
    assert max(scores) > 0.2
    best = rows[scores.index(max(scores))]
    assert result["kept_step"] == best["step"]
    assert score_of_saved_adapter(directory) == pytest.approx(max(scores), abs=1e-9)


def test_answering_while_training_changes_nothing_of_what_is_trained(make_run: MakeRun) -> None:
    settings: dict[str, Any] = {"epochs": 3, "early_stopping_patience": 3, "lora_dropout": 0.2}
    with_answers, without = make_run(early_stopping_metric="token_f1", **settings), make_run(**settings)
    for directory in (with_answers, without):
        train_to_end(directory)
    first, second = training_rows(with_answers, "evaluations.jsonl"), training_rows(without, "evaluations.jsonl")
    assert "token_f1" in first[0]
    assert [row["loss"] for row in first] == [row["loss"] for row in second]  # three epochs, with dropout


def test_a_fixed_choice_of_samples_is_answered_evenly_spread(tmp_path: Path) -> None:
    from airtune.training.scores import SAMPLES, Scores

    class Anything:
        def __getattr__(self, name: str) -> Any:
            return None

    chosen = Scores(object(), Anything(), Anything(), [2], Anything(), list(range(100))).records  # type: ignore[arg-type]
    assert len(chosen) == SAMPLES == 32
    assert chosen[:3] == [0, 3, 6]
    assert chosen[-1] == 96
