"""The charts of the page about a dataset, counted against the records one by one."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tests.datasets.expectations.test_holding import records_of

from airtune.datasets.record import Record, write_records
from airtune.datasets.record_table import RecordTable
from airtune.datasets.report import distributions
from airtune.datasets.report.box_maps import BoxList
from airtune.datasets.report.charts import Distribution, histogram
from airtune.datasets.report.distributions import look
from airtune.runspec.tasks import Task


def table(folder: Path, records: list[Record]) -> RecordTable:
    write_records(folder / "records.parquet", records)
    return RecordTable(folder / "records.parquet")


def many(count: int) -> list[Record]:
    """Samples with rarer and rarer answers, every fifth for validation, in the order of the table."""
    made = [
        dataclasses.replace(
            records_of(Task.VQA)[0],
            id=f"{number}",
            split="validation" if number % 5 == 0 else "train",
            prompt=f"Question {number % 3}?",
            truth=json.dumps({"answer": f"answer {int(number**0.5)}"}),
            width=100 + number,
        )
        for number in range(count)
    ]
    return sorted(made, key=lambda record: record.split)


def chart(charts: tuple[Distribution, ...], title: str) -> Distribution:
    [found] = [each for each in charts if each.title == title]
    return found


def test_the_most_frequent_answers_are_counted_on_both_sides(tmp_path: Path) -> None:
    records = many(900)
    answers = chart(look(table(tmp_path, records), {}, None).charts, "Answers")
    counts = Counter((json.loads(record.truth)["answer"], record.split) for record in records)
    totals = Counter(json.loads(record.truth)["answer"] for record in records)
    assert [bar.label for bar in answers.bars] == [answer for answer, _ in totals.most_common(20)]
    for bar in answers.bars:
        assert (bar.train, bar.validation) == (counts[bar.label, "train"], counts[bar.label, "validation"])
    assert answers.bars[0].train_length + answers.bars[0].validation_length == pytest.approx(1)
    assert answers.more == f"10 more, {900 - sum(bar.count for bar in answers.bars):,} times in all"


def test_of_very_many_samples_every_nth_is_counted_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = many(900)
    monkeypatch.setattr(distributions, "MOST_SAMPLES", 100)
    seen = look(table(tmp_path, records), {}, None)
    assert seen.counted == "Counted: one sample of every 9, 100 in all."
    found = chart(seen.charts, "Texts of the user")
    counts = Counter(record.prompt for record in records[::9])
    assert {bar.label: bar.count for bar in found.bars} == counts


def test_lengths_are_in_tokens_where_the_tokenizer_is_at_hand(tmp_path: Path) -> None:
    records = table(tmp_path, many(50))
    in_characters = look(records, {}, None).charts
    assert chart(in_characters, "Length of the user's text in characters").bars[0].label == "11"
    in_tokens = look(records, {}, lambda text: len(text.split())).charts
    assert [bar.label for bar in chart(in_tokens, "Length of the user's text in tokens").bars] == ["2"]


@pytest.mark.parametrize(
    ("values", "first", "count"),
    [
        ([5.0, 5, 5], "5", 3),
        ([0.0, 100], "0 to 5", 1),
        ([0.5, 2.5], "0.5 to 0.6", 1),
        ([1.0, 2, 3], "1", 1),
        ([7.0, float("nan")], "7", 1),
    ],
)
def test_a_histogram_counts_every_value_once(values: list[float], first: str, count: int) -> None:
    found = histogram("x", np.array(values), np.array([True, *[False] * (len(values) - 1)]))
    assert sum(bar.count for bar in found.bars) == np.isfinite(values).sum()
    assert sum(bar.validation for bar in found.bars) == 1
    assert (found.bars[0].label, found.bars[0].count) == (first, count)
    assert len(found.bars) <= 20


def test_the_maps_of_boxes_cover_what_the_boxes_cover(tmp_path: Path) -> None:
    boxes = [[[0, 0, 512, 1024], [0, 0, 10, 10]], [[1023, 1023, 1024, 1024]]]
    truths = [{"sentence": "a", "groundings": [{"phrase": "a", "boxes": each}]} for each in boxes]
    records = [
        dataclasses.replace(record, truth=json.dumps(truth))
        for record, truth in zip(records_of(Task.PHRASE_GROUNDING), truths, strict=False)
    ]
    seen = look(table(tmp_path, records), {}, None)
    places, sizes = (np.array(each.cells) for each in seen.maps)
    assert places.shape == sizes.shape == (16, 16)
    assert places[0, 0] == 1  # two boxes
    assert set(places[1:, :8].flatten()) == {0.5}
    assert places[:15, 8:].max() == 0
    assert places[15, 15] == 0.5
    assert sizes[0, 0] == 1  # two small ones
    assert sizes[15, 8] == 0.5
    assert [bar.count for bar in chart(seen.charts, "Phrases").bars] == [2]
    assert chart(seen.charts, "Boxes in a sample").bars[0].label == "1"


def test_without_samples_and_without_boxes_there_is_nothing_to_draw(tmp_path: Path) -> None:
    assert look(table(tmp_path, []), {}, None).charts == ()
    assert BoxList.of([]).maps() == ()
