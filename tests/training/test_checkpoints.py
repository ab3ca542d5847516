from __future__ import annotations

import json
from pathlib import Path

import pytest

from airtune.errors import StoreError
from airtune.stores.run_directory import RunDirectory
from airtune.training import checkpoints


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create((tmp_path / "store").as_uri(), "r", "{}")


def write(run: RunDirectory, step: int, text: str = "weights") -> Path:
    with checkpoints.sealed(run, step) as folder:
        (folder / "weights").write_text(f"{text} {step}")
        (folder / "optimizer").write_text("moments")
    return run.workspace / "checkpoints" / f"step-{step}"


def test_the_newest_whole_checkpoint_is_taken(run: RunDirectory) -> None:
    for step in (2, 10, 9):
        write(run, step)
    found = checkpoints.newest(run, print)
    assert found == (10, run.workspace / "checkpoints" / "step-10")


def test_there_is_none_at_the_start(run: RunDirectory) -> None:
    assert checkpoints.newest(run, print) is None


def test_an_incomplete_checkpoint_is_ignored(run: RunDirectory) -> None:
    write(run, 2)
    (write(run, 4) / "COMPLETE").unlink()
    found = checkpoints.newest(run, print)
    assert found is not None
    assert found[0] == 2


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "weights").write_text("weights X"), "weights is not as it was written"),
        (lambda folder: (folder / "weights").write_text(""), "weights is not as it was written"),
        (lambda folder: (folder / "optimizer").unlink(), "optimizer is missing"),
        (lambda folder: (folder / "COMPLETE").write_text("{"), "it has no readable seal"),
    ],
)
def test_a_corrupt_newest_checkpoint_falls_back_to_the_one_before(run: RunDirectory, damage: object, said: str) -> None:
    write(run, 2)
    damage(write(run, 4))  # type: ignore[operator]
    lines: list[str] = []
    found = checkpoints.newest(run, lines.append)
    assert found is not None
    assert found[0] == 2
    assert lines == [f"checkpoints/step-4 is not used: {said}"]


def test_a_failure_while_writing_leaves_no_checkpoint_and_keeps_the_ones_before(run: RunDirectory) -> None:
    write(run, 2)

    def half() -> None:
        with checkpoints.sealed(run, 4) as folder:
            (folder / "weights").write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match="cannot be written: No space"):
        half()
    assert sorted(path.name for path in (run.workspace / "checkpoints").iterdir()) == ["step-2"]
    assert checkpoints.newest(run, print) == (2, run.workspace / "checkpoints" / "step-2")


def test_a_checkpoint_of_the_same_step_is_replaced_whole(run: RunDirectory) -> None:
    write(run, 4, "old")
    folder = write(run, 4, "new")
    assert (folder / "weights").read_text() == "new 4"
    assert checkpoints.faults(folder) == []
    assert json.loads((folder / "COMPLETE").read_text())["step"] == 4


def test_so_many_are_kept_and_a_protected_one_beyond_that(run: RunDirectory) -> None:
    for step in (1, 2, 3, 4, 5):
        write(run, step)
    assert sorted(checkpoints.rotate(run, keep=2, protect=frozenset([2]))) == [1, 3]
    assert sorted(path.name for path in (run.workspace / "checkpoints").iterdir()) == ["step-2", "step-4", "step-5"]


@pytest.mark.s3
def test_a_checkpoint_that_only_the_store_has_is_fetched_and_a_damaged_copy_is_replaced(
    s3_environment: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = RunDirectory.create("s3://airtune/checkpoints-test", "r", "{}")
    for step in (3, 6):
        write(here, step)
        here.push(f"checkpoints/step-{step}")
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "elsewhere"))
    there = RunDirectory.open(here.uri)
    found = checkpoints.newest(there, print)
    assert found is not None
    assert found[0] == 6
    assert not (there.workspace / "checkpoints" / "step-3").exists()
    (found[1] / "weights").write_text("damaged")
    again = checkpoints.newest(there, print)
    assert again == found
    assert (found[1] / "weights").read_text() == "weights 6"
