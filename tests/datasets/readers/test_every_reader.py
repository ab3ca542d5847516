"""Every reader, whatever happens to its files: samples are used or set aside, or the dataset is refused in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from broken_datasets import PIECES, SPECIMENS, TASKS, Spoilt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airtune.datasets.readers.formats import READERS
from airtune.runspec.tasks import Task

CHANGE = st.tuples(
    st.sampled_from(["put", "cut", "twice", "end", "swap"]), st.floats(0, 1), st.floats(0, 1), st.sampled_from(PIECES)
)


def changed(content: bytes, changes: list[tuple[str, float, float, bytes]]) -> bytes:
    """The content after each change: a piece put in place of a part, a part left out or repeated, the end cut off."""
    for kind, start, length, piece in changes:
        first = int(start * len(content))
        last = min(len(content), first + int(length**3 * 200))
        before, part, after = content[:first], content[first:last], content[last:]
        content = {
            "put": before + piece + after,
            "cut": before + after,
            "twice": before + part + part + after,
            "end": before + piece,
            "swap": after + part + before,
        }[kind]
    return content


@pytest.fixture(scope="module", params=READERS)
def spoilt(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spoilt]:
    folder = tmp_path_factory.mktemp("spoilt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRTUNE_HOME", str(folder / "home"))
        yield Spoilt(request.param, folder / "dataset")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_change_to_its_files_gives_a_traceback_and_the_counts_close(spoilt: Spoilt, data: Any) -> None:
    name = data.draw(st.sampled_from(sorted(spoilt.files)))
    content = changed(spoilt.files[name], data.draw(st.lists(CHANGE, min_size=1, max_size=4)))
    spoilt.read(data.draw(st.sampled_from(TASKS)), {name: content})


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_stands_in_its_files_instead(spoilt: Spoilt, data: Any) -> None:
    name = data.draw(st.sampled_from(sorted(spoilt.files)))
    content = data.draw(st.binary(max_size=120) | st.text(max_size=60).map(lambda text: text.encode("utf-16")))
    spoilt.read(data.draw(st.sampled_from(TASKS)), {name: content})


def test_untouched_its_specimen_has_samples_and_none_is_set_aside_but_for_other_tasks(spoilt: Spoilt) -> None:
    assert sum(spoilt.read(task, {})[0] for task in TASKS) > 0


def test_every_format_has_a_specimen() -> None:
    assert {path.name for path in SPECIMENS.iterdir()} == set(READERS)
    assert Task.VQA in TASKS
