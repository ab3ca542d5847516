"""The table that expectations speak of: each column against the records, one by one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from tests.datasets.expectations.test_holding import records_of, showing_a_film

from airtune.datasets.expectations.table import COLUMNS, frame_of, record_fields
from airtune.datasets.pictures.inspection import ImageFacts
from airtune.datasets.record import Record, write_records
from airtune.datasets.record_batch import thinned
from airtune.datasets.record_table import RecordTable
from airtune.runspec.tasks import Task


def column(folder: Path, name: str, records: list[Record], **more: Any) -> list[Any]:
    """Its values, made row by row and all at once: equal."""
    write_records(folder / "records.parquet", records)
    batches = list(RecordTable(folder / "records.parquet").batches(record_fields([name])))
    rows = [batch.slice(row, 1) for batch in batches for row in range(batch.num_rows)]
    whole, piece_by_piece = (frame_of(each, [name], **more)[name].tolist() for each in (batches, rows))
    values = [None if value != value else value for value in whole]
    assert values == [None if value != value else value for value in piece_by_piece]
    return values


GROUNDING = {
    "sentence": "a b",
    "groundings": [
        {"phrase": "a", "boxes": [[0, 0, 1024, 512], [0, 0, 256, 256]]},
        {"phrase": "b", "boxes": [[0, 0, 1, 1]]},
    ],
}
TEXTS = {"prompt": " \u00e4h, what\u3000now? ", "target": "x\ny", "truth": '{"answer":"x y z"}'}


@pytest.mark.parametrize(
    ("name", "task", "changes", "value"),
    [
        ("id", Task.VQA, {}, "r1"),
        ("split", Task.VQA, {}, "train"),
        ("prompt", Task.VQA, TEXTS, TEXTS["prompt"]),
        ("prompt_characters", Task.VQA, TEXTS, 15),
        ("prompt_words", Task.VQA, TEXTS, 3),
        ("prompt_words", Task.VQA, {"prompt": " \u3000\n"}, 0),
        ("target", Task.VQA, TEXTS, "x\ny"),
        ("target_characters", Task.VQA, TEXTS, 3),
        ("target_words", Task.VQA, TEXTS, 2),
        ("answer", Task.VQA, TEXTS, "x y z"),
        ("answer", Task.PHRASE_GROUNDING, {}, None),
        ("answer_words", Task.VQA, TEXTS, 3),
        ("answer_words", Task.PHRASE_GROUNDING, {}, None),
        ("answer_number", Task.PHRASE_GROUNDING, {}, None),
        ("replaced_characters", Task.VQA, {"replaced": 3}, 3),
        ("images", Task.VQA, {"images": ("a", "b"), "image_digests": ("1", "2")}, 2),
        ("images", Task.GENERIC, {"images": (), "image_digests": ()}, 0),
        ("image", Task.VQA, {"image_digests": ("z", "y")}, "z"),
        ("image", Task.GENERIC, {"images": (), "image_digests": ()}, None),
        ("image", Task.VIDEO_FREEFORM, {"video_digest": "v"}, "v"),
        ("image_number", Task.GENERIC, {"images": (), "image_digests": ()}, None),
        ("width", Task.VQA, {"width": 640}, 640),
        ("width", Task.GENERIC, {"images": (), "image_digests": (), "width": 0, "height": 0}, None),
        ("height", Task.VQA, {"height": 480}, 480),
        ("aspect_ratio", Task.VQA, {"width": 100, "height": 400}, 4),
        ("aspect_ratio", Task.GENERIC, {"images": (), "image_digests": (), "width": 0, "height": 0}, None),
        ("frames", Task.VIDEO_FREEFORM, {"frames": 7}, 7),
        ("frames", Task.VQA, {}, None),
        ("phrases", Task.PHRASE_GROUNDING, {"truth": json.dumps(GROUNDING)}, 2),
        ("phrases", Task.VQA, {}, 0),
        ("boxes", Task.PHRASE_GROUNDING, {"truth": json.dumps(GROUNDING)}, 3),
        ("smallest_box", Task.PHRASE_GROUNDING, {"truth": json.dumps(GROUNDING)}, 1 / 1024**2),
        ("largest_box", Task.PHRASE_GROUNDING, {"truth": json.dumps(GROUNDING)}, 0.5),
        ("largest_box", Task.VQA, {}, None),
        ("source_file", Task.VQA, {}, "a"),
        ("source_line", Task.VQA, {"source_line": 12}, 12),
    ],
)
def test_each_column_says_what_its_name_says(
    tmp_path: Path, name: str, task: Task, changes: dict[str, Any], value: Any
) -> None:
    records = records_of(task)
    records[1] = dataclasses.replace(records[1], **changes)
    assert column(tmp_path, name, records)[1] == value


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("prompt_number", {"prompt": "Who?"}),
        ("target_number", {"target": "other"}),
        ("answer_number", {"truth": '{"answer":"other"}'}),
        ("image_number", {"image_digests": ("other",)}),
    ],
)
def test_numbers_are_equal_where_the_texts_are_and_there_alone(
    tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    first, last = records_of(Task.VQA)[0], records_of(Task.VQA)[3]
    one, same, other = column(tmp_path, name, [first, first, dataclasses.replace(first, **changes)])
    assert one == same != other
    assert column(tmp_path, name, [last, dataclasses.replace(last, **changes)])[1] == other


def test_a_picture_on_both_sides_is_known_also_as_the_second_of_a_sample_and_as_a_video(tmp_path: Path) -> None:
    records = records_of(Task.VQA)  # the first validates
    assert column(tmp_path, "image_on_both_sides", records) == [False] * 4
    records[2] = dataclasses.replace(records[2], images=("2.png", "copy.png"), image_digests=("2", "0"))
    assert column(tmp_path, "image_on_both_sides", records) == [True, False, True, False]
    films = [showing_a_film(record) for record in records_of(Task.VQA)]
    films[3] = dataclasses.replace(films[3], video_digest="0")
    assert column(tmp_path, "image_on_both_sides", films) == [True, False, False, True]


def test_pictures_that_are_alike_are_counted_and_known_on_both_sides(tmp_path: Path) -> None:
    records, near = records_of(Task.VQA), [("0", "3", "elsewhere"), ("1", "2")]
    assert column(tmp_path, "similar_images", records, near=near) == [2, 1, 1, 2]
    assert column(tmp_path, "similar_on_both_sides", records, near=near) == [True, False, False, True]
    assert column(tmp_path, "similar_on_both_sides", records) == [False] * 4


def test_what_is_known_about_the_first_image_stands_in_its_row(tmp_path: Path) -> None:
    facts = ImageFacts("1", 64, 64, (64, 64), ("alpha", "suffix"), "PNG", 1234, "", "", 17.5)
    for name, value in (("image_format", "PNG"), ("image_bytes", 1234), ("image_changes", 2), ("brightness", 17.5)):
        assert column(tmp_path, name, records_of(Task.VQA), images={"1": facts}) == [None, value, None, None]


def test_every_nth_row_is_counted_over_all_batches(tmp_path: Path) -> None:
    write_records(tmp_path / "records.parquet", records_of(Task.VQA))
    [batch] = RecordTable(tmp_path / "records.parquet").batches(["id"])
    pieces = [batch.slice(0, 1), batch.slice(1, 2), batch.slice(3, 1)]
    for every, ids in ((1, ["r0", "r1", "r2", "r3"]), (2, ["r0", "r2"]), (3, ["r0", "r3"]), (9, ["r0"])):
        assert [name for piece in thinned(pieces, every) for name in piece["id"].to_pylist()] == ids


def test_no_column_reads_a_field_that_there_is_not() -> None:
    fields = {field.name for field in dataclasses.fields(Record)}
    assert all(set(column.reads) <= fields for column in COLUMNS.values())
    assert frame_of([], list(COLUMNS)).shape == (0, len(COLUMNS))
