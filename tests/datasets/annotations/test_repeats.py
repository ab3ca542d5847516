"""Samples that stand there twice, and questions with two answers."""

from __future__ import annotations

from collections import Counter, defaultdict

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.datasets.conftest import NewRun, ViFolder, line_of, vqa

from airtune.datasets.annotations.repeats import COLUMNS, Repeats
from airtune.datasets.record import column_type
from airtune.datasets.stage import validate
from airtune.stores import layout

ROWS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["q", "r", "s"]), st.sampled_from("12")), max_size=12)


def batch_of(rows: list[tuple[str, str, str]]) -> pa.RecordBatch:
    images = [["c", image] if image == "b" else [image] for image, _, _ in rows]
    columns = [
        images,
        [None] * len(rows),
        [row[1] for row in rows],
        [row[2] for row in rows],
        ["".join(r) for r in rows],
    ]
    return pa.record_batch(
        [pa.array(values, column_type(name)) for name, values in zip(COLUMNS, columns, strict=True)], COLUMNS
    )


@settings(deadline=None)
@given(ROWS)
def test_the_counts_are_those_of_looking_at_every_pair(rows: list[tuple[str, str, str]]) -> None:
    repeats = Repeats()
    for begin in range(0, len(rows), 5):
        repeats.add(batch_of(rows[begin : begin + 5]))
    answers: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for image, question, answer in rows:
        answers[image, question].add(answer)
    asked_twice = [row for row in rows if len(answers[row[:2]]) > 1]
    found = repeats.contradictions()
    assert found.count == len(asked_twice)
    assert all(len({rows[place][2] for place in example}) > 1 for example in found.examples)
    assert bool(found.examples) == bool(asked_twice)
    same = repeats.same_samples()
    assert same.count == sum(count - 1 for count in Counter(rows).values())
    assert all(len({rows[place] for place in example}) == 1 for example in same.examples)


def test_both_are_warnings_with_places(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("dump", 30)
    folder.image("dump", "x.png")
    folder.annotate(
        "dump",
        "x.jsonl",
        line_of("x.png", vqa(("Who?", "Ann"), ("Who?", "Bob"))),
        line_of("x.png", vqa(("Who?", "Ann"))),
    )
    run = new_run(folder.root.as_uri())
    validate(run)
    same, otherwise, *_ = [
        line for line in run.read_json(layout.VALIDATION_RESULT)["warnings"] if "same images" in line
    ]
    assert same.startswith("1 samples stand there once more (same images, question and answer)")
    assert same.endswith(": dump/annotations/x.jsonl:1, dump/annotations/x.jsonl:2")
    assert otherwise.startswith("3 samples ask the same of the same images as another, and are answered otherwise")
