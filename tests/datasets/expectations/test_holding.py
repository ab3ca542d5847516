"""The suites that ship: each can be run, and each of their expectations can fail."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airtune.datasets.expectations.holding import Check, Expectations
from airtune.datasets.expectations.suites import suite_for
from airtune.datasets.expectations.table import record_fields
from airtune.datasets.record import Record, write_records
from airtune.datasets.record_table import RecordTable
from airtune.runspec.answers import build_target
from airtune.runspec.tasks import Task

Table = Callable[[list[Record]], RecordTable]
TRUTHS: dict[Task, Any] = {
    Task.VQA: lambda n: {"answer": f"a{n}"},
    Task.FREEFORM: lambda n: {"caption": f"a{n}"},
    Task.VIDEO_FREEFORM: lambda n: {"caption": f"a{n}"},
    Task.GENERIC: lambda n: {"text": f"a{n}"},
    Task.PHRASE_GROUNDING: lambda n: {"sentence": f"a{n}", "groundings": [{"phrase": "a", "boxes": [[1, 1, 90, 90]]}]},
}


def records_of(task: Task) -> list[Record]:
    records = [
        Record(
            id=f"r{n}",
            split="train" if n else "validation",
            task=task.value,
            images=(f"{n}.png",),
            image_digests=(f"{n}",),
            video=None,
            prompt="What?",
            target=build_target(task, TRUTHS[task](n)).text,
            truth=json.dumps(TRUTHS[task](n)),
            group=f"{n}",
            width=64,
            height=64,
            digest=f"{n}",
            source_file="a",
            source_line=1,
        )
        for n in range(4)
    ]
    return [showing_a_film(record) for record in records] if task.needs_video else records


def showing_a_film(record: Record) -> Record:
    [image], [digest] = record.images, record.image_digests
    film = {"video": f"{image}.mp4", "video_digest": digest, "frames": 24, "frame_rate": 8.0}
    return dataclasses.replace(record, images=(), image_digests=(), **film)


@pytest.fixture
def table(tmp_path: Path) -> Callable[[list[Record]], RecordTable]:
    """Puts records on disk."""

    def write(records: list[Record]) -> RecordTable:
        write_records(tmp_path / "records.parquet", records)
        return RecordTable(tmp_path / "records.parquet")

    return write


def checks_of(records: RecordTable, task: Task) -> list[Check]:
    expectations = Expectations(suite_for(task))
    return expectations.check(records.batches(record_fields(expectations.suite.columns)))


@pytest.mark.parametrize("task", TRUTHS)
def test_every_suite_says_what_it_expects_in_words(task: Task) -> None:
    suite = suite_for(task)
    assert len({stated.key for stated in suite.expectations}) == len(suite.expectations) > 10
    assert all(stated.config["description"] for stated in suite.expectations)


@pytest.mark.parametrize("task", TRUTHS)
def test_good_records_hold_to_their_suite(task: Task, table: Table) -> None:
    checks = checks_of(table(records_of(task)), task)
    assert [check.description for check in checks] == [
        stated.config["description"] for stated in suite_for(task).expectations
    ]
    assert [check for check in checks if not check.passed] == []


ONE_BOX = {"sentence": "a1", "groundings": [{"phrase": "a", "boxes": [[1, 1, 2, 2]]}]}
MANY = {"sentence": "a1", "groundings": [{"phrase": "a", "boxes": [[1, 1, 90, 90]] * 101}]}
NONE: dict[str, Any] = {"sentence": "a1", "groundings": []}


@pytest.mark.parametrize(
    ("task", "changes", "description"),
    [
        (Task.VQA, {"id": "r0"}, "no two samples have one name"),
        (Task.VQA, {"target": "{}"}, "every sample has an answer"),
        (Task.GENERIC, {"target": " \u3000\n"}, "every sample has an answer"),
        (Task.VQA, {"images": ()}, "every sample has at least one image"),
        (Task.VQA, {"image_digests": ("0",)}, "no image is in training and in validation"),
        (Task.VQA, {"width": 20}, "images are at least 28 pixels wide"),
        (Task.VQA, {"height": 20}, "images are at least 28 pixels high"),
        (Task.VQA, {"width": 64 * 30}, "images are not extremely long"),
        (Task.VQA, {"prompt": "x" * 5000}, "texts of users are not extremely long"),
        (Task.VQA, {"target": "x" * 9000}, "answers are not extremely long"),
        (Task.VQA, {"prompt": "\n"}, "every sample has a question"),
        (Task.VQA, {"image_digests": ("2",)}, "no question is asked twice of one image"),
        (Task.GENERIC, {"prompt": ""}, "every sample has a text of the user"),
        (Task.GENERIC, {"image_digests": ("2",)}, "no text of a user stands twice with one image"),
        (Task.VIDEO_FREEFORM, {"frames": 1}, "every sample has a video"),
        (Task.VIDEO_FREEFORM, {"video_digest": "0"}, "no video is in training and in validation"),
        (Task.PHRASE_GROUNDING, {"truth": json.dumps(ONE_BOX)}, "boxes cover at least 0.01 % of their image"),
        (Task.PHRASE_GROUNDING, {"truth": json.dumps(MANY)}, "no sentence has an extreme number of boxes"),
        (Task.PHRASE_GROUNDING, {"truth": json.dumps(NONE)}, "every sentence has a phrase"),
        (Task.PHRASE_GROUNDING, {"truth": json.dumps(NONE)}, "every sentence has a box"),
    ],
)
def test_each_expectation_can_fail(task: Task, changes: dict[str, Any], description: str, table: Table) -> None:
    records = records_of(task)
    records[1] = dataclasses.replace(records[1], **changes)
    failed = {check.description: check.observed for check in checks_of(table(records), task) if not check.passed}
    assert description in failed
    assert "could not be checked" not in failed[description]


def test_one_answer_to_everything_and_one_split_are_noticed(table: Table) -> None:
    records = [
        dataclasses.replace(record, target='{"vqa":{"answer":"x"}}', split="train", id=f"{n}", replaced=3 * (n == 0))
        for n, record in enumerate(records_of(Task.VQA))
    ]
    failed = {check.description for check in checks_of(table(records), Task.VQA) if not check.passed}
    assert failed == {
        "there is more than one answer to learn",
        "both splits have samples",
        "no character of an answer had to be replaced",
    }


def test_what_was_found_is_told_in_words_that_mean_something(table: Table) -> None:
    records = [dataclasses.replace(record, image_digests=("0",), width=20) for record in records_of(Task.VQA)]
    found = {check.description: check.observed for check in checks_of(table(records), Task.VQA)}
    assert found["no question is asked twice of one image"] == "4 of 4 (100.0 %)"
    assert found["images are at least 28 pixels wide"] == "4 of 4 (100.0 %): 20"
    assert found["images are at least 28 pixels high"] == ""
