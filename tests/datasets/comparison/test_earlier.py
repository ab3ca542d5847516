"""Which dataset a run's data is compared with, and that nothing about it can stop the run."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
from tests.datasets.comparison.test_drift import vqa
from tests.datasets.conftest import NewRun, ViFolder
from tests.datasets.conftest import vqa as vqa_contents

from airtune.datasets.comparison.earlier import dataset_of, drift_since_champion
from airtune.datasets.record import Record, write_records
from airtune.datasets.stage import validate
from airtune.errors import DataError
from airtune.stores import layout
from airtune.stores.base import MissingError
from airtune.stores.run_directory import RunDirectory

NAME = "a model"


def run_with(root: Path, run_id: str, records: list[Record]) -> RunDirectory:
    run = RunDirectory.create(root.as_uri(), run_id, "{}")
    facts = {"root_uri": "file:///d", "samples": len(records), "images": len(records), "fingerprint": run_id}
    write_records(run.path(layout.RECORDS), records)
    run.write_json(layout.FACTS, facts)
    return run


def promote(run: RunDirectory, *run_ids: str, current: bool = True) -> None:
    store = run.model_store(layout.model_folder_name(NAME))
    lines = [json.dumps({"run_id": run_id}) for run_id in run_ids]
    store.write(layout.HISTORY, "".join(f"{line}\n" for line in lines).encode())
    if current:
        store.write(layout.CURRENT, lines[-1].encode())


def against(run: RunDirectory) -> tuple[str | None, str | None]:
    tables = run.path(layout.RECORDS), run.path(layout.IMAGES)
    drift, note = drift_since_champion(run, NAME, run.read_json(layout.FACTS), tables)
    return (drift.before.name if drift else None), note


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, RunDirectory]:
    records = [vqa(i, "What?", str(i % 3)) for i in range(40)]
    return {name: run_with(tmp_path, name, records[at:]) for at, name in enumerate(("one", "two", "new"))}


def test_the_champion_is_what_a_run_is_compared_with(runs: dict[str, RunDirectory]) -> None:
    assert against(runs["new"]) == (None, None)
    promote(runs["new"], "one", "two")
    assert against(runs["new"]) == ("two", None)


def test_a_run_that_is_the_champion_itself_is_compared_with_the_one_before(runs: dict[str, RunDirectory]) -> None:
    promote(runs["new"], "one", "new")
    assert against(runs["new"]) == ("one", None)


def test_where_the_champions_dataset_is_gone_the_one_before_it_is_taken(runs: dict[str, RunDirectory]) -> None:
    promote(runs["new"], "one", "two")
    runs["two"].remove(layout.RECORDS)
    assert against(runs["new"]) == ("one", None)
    runs["one"].remove(layout.FACTS)
    name, note = against(runs["new"])
    assert name is None
    assert note == "the champion two has no dataset any more to compare with"


@pytest.mark.parametrize("content", [b"\xff", b"[]", b'{"run_id": "../../etc"}', b'{"run_id": 3}', b""])
def test_a_damaged_pointer_stops_nothing(runs: dict[str, RunDirectory], content: bytes) -> None:
    runs["new"].model_store(layout.model_folder_name(NAME)).write(layout.CURRENT, content)
    assert against(runs["new"]) == (None, None)


def test_damaged_tables_of_the_champion_stop_nothing_and_are_said(runs: dict[str, RunDirectory]) -> None:
    promote(runs["new"], "one")
    runs["one"].write_bytes(layout.RECORDS, b"PAR1 nothing")
    name, note = against(runs["new"])
    assert name is None
    assert note is not None
    assert "could not be compared with the champion's: not a table" in note
    runs["one"].write_json(layout.FACTS, {"samples": 3})
    assert "lacks 'root_uri'" in (against(runs["new"])[1] or "")
    with pytest.raises(DataError), dataset_of(runs["one"]):
        pass


def test_a_run_without_a_validated_dataset_is_missing_one(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path.as_uri(), "empty", "{}")
    with pytest.raises(MissingError), dataset_of(run):
        pass


def test_validation_records_how_the_data_differs_from_the_champions(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("dump", 120)
    first = new_run(folder.root.as_uri())
    validate(first)
    assert not first.exists(layout.VALIDATION_DRIFT)
    assert not any("compared" in note for note in first.read_json(layout.VALIDATION_RESULT)["notes"])
    first.model_store(layout.model_folder_name("a <run>")).write(
        layout.CURRENT, json.dumps({"run_id": first.run_id}).encode()
    )
    for index in range(120, 220):
        folder.sample("dump", f"d{index:04}", vqa_contents(("What?", "always this")), size=(320, 240))
    second = new_run(folder.root.as_uri())
    validate(second)
    drift = second.read_json(layout.VALIDATION_DRIFT)
    assert (drift["before"]["name"], drift["samples"]["added"], drift["samples"]["removed"]) == (first.run_id, 100, 0)
    result = second.read_json(layout.VALIDATION_RESULT)
    assert result["passed"]
    assert any(f"since {first.run_id}, Answers: much different" in line for line in result["warnings"])
    assert any(f"against {first.run_id}: 100 samples added" in line for line in result["notes"])
    before = second.store.read(layout.VALIDATION_DRIFT)
    validate(second)
    assert second.store.read(layout.VALIDATION_DRIFT) == before


def test_a_table_of_an_earlier_airtune_stops_nothing(runs: dict[str, RunDirectory]) -> None:
    promote(runs["new"], "one")
    path = runs["one"].path(layout.RECORDS)
    parquet.write_table(parquet.read_table(path).drop_columns(["frames"]), path)
    assert "it lacks the columns frames" in (against(runs["new"])[1] or "")
