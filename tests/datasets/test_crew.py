"""Work spread over processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from crew_jobs import die, die_of, divmod_of, inverse, own_id
from tests.datasets.conftest import NewRun, ViFolder, snapshot
from tests.datasets.test_stage import WRITTEN

from airtune.datasets.crew import Crew
from airtune.datasets.stage import validate
from airtune.errors import DefectError


def test_results_come_in_the_order_of_the_jobs_from_other_processes() -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(40):
            taken.append(number)
            yield number

    with Crew(2) as crew:
        results = crew.each(divmod_of, jobs())
        assert next(results)[0] == (0, 0)
        assert len(taken) < 10  # no more of it is about than is being worked on
        rest = list(results)
    assert [pair for pair, _ in rest] == [divmod(number, 7) for number in range(1, 40)]
    assert os.getpid() not in {process for _, process in rest}


def test_an_error_is_raised_here_and_nobody_is_left_behind() -> None:
    with pytest.raises(ZeroDivisionError), Crew(2) as crew:
        list(crew.each(inverse, [2, 0, 1]))
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def test_who_works_for_one_that_is_killed_ends_too(tmp_path: Path) -> None:
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        with Crew(2) as crew:
            os.write(write, next(crew.each(own_id, [1])).to_bytes(8, "big"))
            time.sleep(60)
        os._exit(0)
    worker = psutil.Process(int.from_bytes(os.read(read, 8), "big"))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    worker.wait(timeout=10)


def test_one_that_is_killed_is_named_as_such() -> None:
    with pytest.raises(DefectError, match="memory"), Crew(2) as crew:
        list(crew.each(die, [1]))
    # Even in the middle of jobs that are larger than a pipe, and where the rest of the crew goes on.
    with pytest.raises(DefectError, match="memory"), Crew(2) as crew:
        list(crew.each(die_of, [(number == 5, b"x" * 2_000_000) for number in range(20)]))


def test_who_asks_for_no_more_leaves_a_crew_that_works() -> None:
    with Crew(2) as crew:
        for _ in crew.each(own_id, range(100)):
            break
        later = crew.begin(divmod_of, 9)
        assert [pair for pair, _ in crew.each(divmod_of, range(5))] == [divmod(number, 7) for number in range(5)]
        assert later()[0] == (1, 2)


def test_a_crew_is_thinned_by_those_who_are_idle_and_complete_again_when_it_is_needed() -> None:
    with Crew(2) as crew:
        list(crew.each(own_id, [1]))
        later = crew.begin(divmod_of, 9)
        crew.thin()
        assert len([child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]) == 1
        assert later()[0] == (1, 2)
        assert os.getpid() not in set(crew.each(own_id, range(20)))


def test_small_work_is_done_here() -> None:
    with Crew(2) as crew:
        assert list(crew.each(own_id, [1], spread=False)) == [os.getpid()]


def test_a_dataset_is_the_same_whoever_works_on_it(
    folder: ViFolder, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.fill("training", 30)
    folder.fill("validation", 10)
    (folder.root / "training/images/t0003.png").write_bytes(b"no image")
    run = new_run(folder.root.as_uri())
    validate(run)
    before = snapshot(run.workspace, WRITTEN)
    for room in ("reading", "assembly", "check"):
        monkeypatch.setattr(f"airtune.datasets.{room}.WORTH_SPREADING", 1)
    validate(run)
    assert snapshot(run.workspace, WRITTEN) == before
