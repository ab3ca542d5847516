"""Samples that are longer than the model can take: named before a GPU is taken."""

from __future__ import annotations

from typing import Any

import pytest

from airtune.datasets.record import Record, write_records
from airtune.errors import DataError, ExitCode
from airtune.resolution.base_model import read_base_model
from airtune.resolution.lengths import Lengths, Sample
from airtune.resolution.picture_tokens import Picture
from airtune.resolution.stage import resolve
from airtune.resolution.too_long import in_words, refuse, too_long
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

from .conftest import Make, RunOf


def record(number: int, split: str = "train", words: int = 3) -> Record:
    return Record(
        id=str(number), split=split, task="freeform", images=("a.png",), image_digests=(f"{number}",), video=None,
        prompt="what " * words, target='{"freeform":{"caption":"a"}}', truth="{}", group=str(number), width=64,
        height=48, digest=str(number), source_file="data.jsonl", source_line=number,
    )  # fmt: skip


def longest(base_uri: str) -> int:
    return int(read_base_model(base_uri, where="x").longest or 0)


def with_records(run: RunDirectory, *records: Record) -> RunDirectory:
    write_records(run.path(layout.RECORDS), records)
    run.push(layout.RECORDS)
    return run


def test_a_sample_that_the_model_cannot_take_stops_the_run_before_training_with_its_place(
    make_run: Make, base_uri: str
) -> None:
    run = with_records(make_run(), record(1), record(2, words=longest(base_uri)), record(3, "validation"))
    with pytest.raises(DataError) as caught:
        resolve(run)
    assert caught.value.exit_code == ExitCode.DATA
    assert "1 samples do not fit the model" in str(caught.value)
    assert "data.jsonl:2: " in str(caught.value)
    assert "data.jsonl:1" not in str(caught.value)


def test_a_validation_sample_counts_as_well(make_run: Make, base_uri: str) -> None:
    run = with_records(make_run(), record(1), record(2, "validation", words=longest(base_uri)))
    with pytest.raises(DataError, match=r"data.jsonl:2: "):
        resolve(run)


def test_a_limit_that_the_run_chose_sets_samples_aside_and_says_so(make_run: Make) -> None:
    run = with_records(
        make_run(**{"max-sequence-length": 200}), record(1), record(2, words=300), record(3, "validation")
    )
    resolution = resolve(run)
    [said] = [line for line in resolution.warnings if "sets them aside" in line]
    assert said.startswith("1 samples have more than 200 tokens")
    assert "data.jsonl:2 (" in said
    assert resolution.estimate["too_long"]["left"] == 1


def test_a_limit_that_leaves_nothing_to_train_is_refused(make_run: Make) -> None:
    run = with_records(make_run(**{"max-sequence-length": 64}), record(1, words=300), record(2, "validation"))
    with pytest.raises(DataError, match="no training sample is left: none of the 1 has 64 tokens or fewer"):
        resolve(run)


def test_what_fits_is_no_subject(make_run: Make) -> None:
    resolution = resolve(with_records(make_run(), record(1), record(2, "validation")))
    assert resolution.estimate["too_long"] is None
    assert not any("tokens" in line and "samples" in line for line in resolution.warnings)


def measured(tokens: int, *, exact: bool) -> dict[str, Any]:
    sample = Sample((("a", Picture(10, 10)),), 0, tokens - 10)
    return {"train": Lengths(0, (sample,), exact), "validation": Lengths(0, (), exact)}


def test_lengths_that_were_guessed_warn_and_refuse_nothing(run_of: RunOf) -> None:
    found = too_long([record(1)], measured(101, exact=False), run_of(), context=100, images=1)
    refuse(found)
    assert "1 samples may have more than the 100 tokens" in in_words(found)[0]
    assert too_long([record(1)], measured(100, exact=True), run_of(), context=100, images=1) is None
    exact = too_long([record(1)], measured(101, exact=True), run_of(), context=100, images=1)
    with pytest.raises(DataError):
        refuse(exact)


def test_a_sample_with_fewer_pictures_than_others_is_not_counted_too_long(run_of: RunOf) -> None:
    lengths = measured(103, exact=True)
    assert too_long([record(1)], lengths, run_of(), context=100, images=2) is None
    assert too_long([record(1)], lengths, run_of(), context=100, images=1) is not None
    assert too_long([record(1)], lengths, run_of(), context=None, images=1) is None
