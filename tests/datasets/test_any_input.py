"""Whatever a dataset holds: samples are used or set aside, or it is refused in words."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.datasets.conftest import grounding, line_of, vqa

from airtune.datasets.annotations.control_tokens import ControlTokens
from airtune.datasets.assembly import assemble
from airtune.datasets.counting import Counts
from airtune.datasets.crew import Crew
from airtune.datasets.draft import REMEDIES, SetAside
from airtune.datasets.facts import facts_of
from airtune.datasets.pictures.images import Images
from airtune.datasets.pictures.inspection import inspect
from airtune.datasets.readers.formats import reader_for
from airtune.datasets.record import read_records, write_records
from airtune.datasets.sources.source import Source
from airtune.datasets.spool import Spool, outcomes_of
from airtune.runspec.prompts import user_prompt
from airtune.runspec.tasks import Task

CONTROLS = ControlTokens()
TASKS = [task for task in Task if not task.needs_video]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(
        ["Vqa", "PhraseGrounding", "Freeform", "Image", "a.png", "../a.png", "user", "assistant", "<image>x"]
    )
)
VI_KEYS = ("id", "asset", "contents", "type", "filename", "width", "height", "interactions", "question", "answer")
PHRASE_KEYS = ("caption", "groundedPhrases", "phrase", "bounds", "text")
CHAT_KEYS = ("messages", "conversations", "images", "role", "from", "content", "value")
KEYS = st.text(max_size=3) | st.sampled_from((*VI_KEYS, *PHRASE_KEYS, *CHAT_KEYS))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25
)
GOOD = [
    line_of("a.png", vqa(("What?", "x"), ("Who?", "y"))),
    line_of("a.png", grounding("a car", ("car", [[0.1, 0.1, 0.5, 0.5]]))),
    line_of("a.png", {"type": "Freeform", "text": "a cat"}),
    {
        "messages": [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "x"}],
        "images": ["dump/images/a.png"],
    },
]


def parts_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in parts_of(part, (*path, key)))]


@st.composite
def spoilt(draw: Callable[..., Any]) -> Any:
    """A good annotation with one part of it replaced by anything, or left out."""
    value = json.loads(json.dumps(draw(st.sampled_from(GOOD))))
    path = draw(st.sampled_from(parts_of(value)))
    if not path:
        return draw(VALUES)
    owner = value
    for key in path[:-1]:
        owner = owner[key]
    if draw(st.booleans()) and isinstance(owner, dict):
        del owner[path[-1]]
    else:
        owner[path[-1]] = draw(VALUES)
    return value


LINES = (
    st.one_of(spoilt(), VALUES, st.sampled_from(GOOD)).map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=40)
    | spoilt().flatmap(lambda value: st.integers(0, 200).map(lambda cut: json.dumps(value).encode()[:cut]))
)


@pytest.fixture(scope="module")
def root() -> Any:
    folder = Path(tempfile.mkdtemp())
    (folder / "dump/images").mkdir(parents=True)
    (folder / "dump/annotations").mkdir()
    Image.new("RGB", (64, 48)).save(folder / "dump/images/a.png")
    yield folder
    shutil.rmtree(folder)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(LINES, max_size=5), st.sampled_from(TASKS), st.sampled_from(["vi", "chat-jsonl"]))
def test_no_annotation_however_broken_gives_a_traceback_and_the_counts_close(
    root: Path, lines: list[bytes], task: Task, named: str
) -> None:
    (root / "dump/annotations/a.jsonl").write_bytes(b"\n".join(lines))
    source = Source.open(root.as_uri())
    _, reader = reader_for(source, named)
    outcomes = list(reader.read(task))
    assert all(row.reason in REMEDIES for row in outcomes if isinstance(row, SetAside))
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "spool").mkdir()
        spool = Spool(Path(work) / "spool", reader.images())
        spool.fill(outcomes)
        assert [row for chunk in spool.chunks for row in outcomes_of(chunk)] == outcomes
        inspected = inspect(Images(source.uri), spool.images)
        assembly = assemble(
            spool,
            inspected,
            task=task,
            user_prompt=user_prompt(task),
            ratio=None,
            near=(),
            controls=CONTROLS,
            folder=Path(work),
            crew=Crew(0),
        )
        records = list(assembly.records.records())
        assert len(assembly.records) + len(assembly.aside) == len(outcomes)
        assert len(list(assembly.aside)) == len(assembly.aside) == sum(assembly.aside.by_reason.values())
        # What is kept can be written and comes back the same.
        write_records(root / "records.parquet", records)
        assert read_records(root / "records.parquet") == records
        assert len({record.id for record in records}) == len(records)
        facts = facts_of(
            assembly, inspected, Counts(assembly.records), root_uri=source.uri, dataset_format=named, task=task
        )
        json.dumps(facts, allow_nan=False)
    assert all(isinstance(note, str) for note in reader.notes())
