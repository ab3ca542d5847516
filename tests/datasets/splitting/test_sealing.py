"""Stages read the samples that the run was resolved on, or none."""

from __future__ import annotations

import dataclasses

import pytest
from tests.datasets.comparison.test_drift import vqa

from airtune.datasets.fingerprint import fingerprint
from airtune.datasets.record import Record
from airtune.datasets.splitting.sealing import check_sealed
from airtune.errors import DataError


@pytest.fixture
def records() -> list[Record]:
    return [vqa(i, "What?", str(i), split="validation" if i % 5 == 0 else "train") for i in range(20)]


@pytest.fixture
def sealed(records: list[Record]) -> dict[str, str]:
    validation = [record.digest for record in records if record.split == "validation"]
    return {
        "fingerprint": fingerprint(record.digest for record in records),
        "evaluation_set_digest": fingerprint(validation),
    }


def test_the_same_samples_pass_in_any_order(records: list[Record], sealed: dict[str, str]) -> None:
    check_sealed(records[::-1], sealed)
    check_sealed([r for r in records if r.split == "validation"], sealed, validation_only=True)


def test_one_sample_more_less_or_other_is_refused(records: list[Record], sealed: dict[str, str]) -> None:
    for other in (records[:-1], [*records, records[1]], [*records[:-1], vqa(99, "What?", "x")]):
        with pytest.raises(DataError, match="the samples on record are not those that the run was resolved on"):
            check_sealed(other, sealed)


def test_a_sample_that_changed_sides_makes_another_evaluation_set(
    records: list[Record], sealed: dict[str, str]
) -> None:
    moved = [dataclasses.replace(records[1], split="validation"), records[0], *records[2:]]
    with pytest.raises(DataError, match=r"^dataset/records.parquet: the samples of validation on record") as caught:
        check_sealed(moved, sealed)
    assert len(caught.value.problems) == 1  # the samples are the same, only their sides are not
    judging = [record for record in moved if record.split == "validation"]
    with pytest.raises(DataError, match="start a new run"):
        check_sealed(judging, sealed, validation_only=True)


def test_runs_that_an_earlier_airtune_resolved_have_no_seal(records: list[Record]) -> None:
    check_sealed(records, {})
    check_sealed(records, {"fingerprint": None, "evaluation_set_digest": None})
