"""How long samples, rows and epochs are, in tokens."""

from __future__ import annotations

from typing import Any

import pytest

from airtune.configs import configs_root
from airtune.datasets.record import Record
from airtune.resolution.base_model import read_base_model
from airtune.resolution.lengths import Lengths, Packing, Sample, epoch, largest, lengths_of, rows_of
from airtune.resolution.picture_tokens import Picture, PictureRule
from airtune.resolution.text_tokens import CHARACTERS_A_TOKEN, text_rule

SYSTEM = 100


def sample(picture: str, tokens: int = 64, question: int = 10, answer: int = 5) -> Sample:
    return Sample(((picture, Picture(tokens, 4 * tokens)),), question, answer)


FOUR_QUESTIONS = Lengths(SYSTEM, tuple(sample(name) for name in "aaaabbbb"), exact=True)


def test_a_packed_row_has_prompt_and_pictures_once(run_of: Any) -> None:
    (row,) = rows_of(FOUR_QUESTIONS, FOUR_QUESTIONS.samples, Packing())
    assert (row.rows, row.length) == (1, 100 + 2 * 64 + 8 * 15)
    assert (row.labels, row.picture_tokens, row.patches, row.largest_picture) == (40, 128, 512, 256)


def test_a_padded_batch_is_as_long_as_its_longest_sample() -> None:
    mixed = Lengths(SYSTEM, (sample("a"), sample("b", tokens=200)), exact=True)
    (row,) = rows_of(mixed, mixed.samples, None)
    assert (row.rows, row.length, row.tokens, row.pairs) == (2, 315, 630, 2 * 315**2)
    assert (row.picture_tokens, row.patches, row.largest_picture) == (264, 1056, 800)


def test_rows_are_cut_between_pictures_and_a_picture_where_it_must_be() -> None:
    rows = rows_of(FOUR_QUESTIONS, FOUR_QUESTIONS.samples, Packing(row_tokens=300))
    assert [row.length for row in rows] == [100 + 64 + 60, 100 + 64 + 60]
    single = rows_of(FOUR_QUESTIONS, FOUR_QUESTIONS.samples[:4], Packing(row_tokens=200))
    assert [row.length for row in single] == [100 + 64 + 2 * 15] * 2


def test_rows_are_not_joined_where_masked_pairs_cost_more_than_is_shared() -> None:
    assert len(rows_of(FOUR_QUESTIONS, FOUR_QUESTIONS.samples, Packing(pair_cost=0.0))) == 1
    assert len(rows_of(FOUR_QUESTIONS, FOUR_QUESTIONS.samples, Packing(pair_cost=0.02))) == 2


def test_an_epoch_adds_up_its_micro_batches(run_of: Any) -> None:
    found = epoch(FOUR_QUESTIONS, run_of(batch_size=4), Packing())
    assert (found.micro_batches, found.passes) == (2, 2)
    assert found.tokens == 2 * (100 + 64 + 60)
    assert found.tokens_padded == 8 * 179
    assert found.labels == 40
    assert found.largest.length == 224


def test_the_largest_pass_is_of_the_longest_samples(run_of: Any) -> None:
    uneven = Lengths(SYSTEM, (*FOUR_QUESTIONS.samples, sample("c", tokens=500)), exact=True)
    row, rows = largest(uneven, run_of(batch_size=2), Packing())
    assert (row.length, rows) == (100 + 500 + 15 + 64 + 15, 1)
    padded, _ = largest(uneven, run_of(batch_size=2), None)
    assert (padded.rows, padded.length) == (2, 615)


def test_samples_that_training_sets_aside_do_not_count() -> None:
    uneven = Lengths(SYSTEM, (sample("a"), sample("c", tokens=500)), exact=True)
    assert [each.names for each in uneven.within(300).samples] == [("a",)]
    assert uneven.to_json()["tokens"]["most"] == 615
    assert FOUR_QUESTIONS.to_json()["questions_a_picture"] == 4.0


def test_each_picture_of_a_sample_counts_with_its_own_size(run_of: Any) -> None:
    folder = (configs_root() / "demo" / "tiny-vlm").as_uri()
    base, texts = read_base_model(folder, where="x"), text_rule(folder)
    pictures = PictureRule(base, None)
    record = Record(
        id="a", split="train", task="vqa", images=("a.png", "b.png"), image_digests=("a", "b"), video=None,
        prompt="Which?", target="{}", truth="{}", group="a", width=64, height=64, digest="a", source_file="x",
        source_line=1,
    )  # fmt: skip
    sizes = {"a": (64, 64), "b": (256, 192)}
    (found,) = lengths_of([record], run_of(), texts, pictures, sizes=sizes).samples
    around = texts.picture
    assert around == 2
    assert [picture.tokens for _, picture in found.pictures] == [
        pictures(64, 64).tokens + around, pictures(256, 192).tokens + around
    ]  # fmt: skip
    assert pictures(64, 64).tokens < pictures(256, 192).tokens
    (guessed,) = lengths_of([record], run_of(), texts, pictures).samples
    assert [picture.tokens for _, picture in guessed.pictures] == [pictures(64, 64).tokens + around] * 2


def test_texts_are_counted_by_their_characters_where_the_tokenizer_is_not_at_hand() -> None:
    rule = text_rule("Qwen/Qwen3-VL-8B-Instruct")
    assert not rule.exact
    assert rule("x" * 35) == 35 / CHARACTERS_A_TOKEN == 10
    assert rule("x") == 1


@pytest.mark.training
def test_lengths_are_those_of_the_encoder(tmp_path: Any, run_of: Any) -> None:
    from training_runs import draw_dataset

    from airtune.modeling.conversation import stop_token_ids
    from airtune.modeling.encoding import Encoder
    from airtune.modeling.loading import load_processor

    folder = configs_root() / "demo" / "tiny-vlm"
    run = run_of(system_prompt="Answer in one word; never guess.", base_model=folder.as_uri())
    records = draw_dataset(tmp_path, train=6, validation=2)
    base = read_base_model(folder.as_uri(), where="x")
    found = lengths_of(records, run, text_rule(folder.as_uri()), PictureRule(base, None))
    processor = load_processor(folder)
    encoder = Encoder(processor, stop_token_ids(processor, None))
    real = [
        encoder.prompt_length(run.system_prompt, record.prompt, [(record.height, record.width)])
        + len(encoder.target_ids(record.target))
        for record in records
        if record.split == "train"
    ]
    assert found.exact
    assert [found.of(sample) for sample in found.samples] == real
    answers = [len(encoder.target_ids(record.target)) for record in records if record.split == "train"]
    assert [sample.answer for sample in found.samples] == answers
