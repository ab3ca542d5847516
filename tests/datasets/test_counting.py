"""Counting over whole columns, held against counting one by one."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from airtune.datasets.counting import Counts
from airtune.datasets.record import Record, write_records
from airtune.datasets.record_table import RecordTable

Sample = tuple[str, str | None, list[str], str, int]
SAMPLES = st.lists(
    st.tuples(
        st.sampled_from(["train", "validation"]),
        st.none() | st.sampled_from(["a", "b", "B", "ä", "long text"]),
        st.lists(st.sampled_from(["d1", "d2", "d3"]), max_size=3),
        st.text(max_size=5),
        st.integers(0, 2),
    ),
    max_size=25,
)


@settings(deadline=None)
@given(SAMPLES)
def test_the_counts_are_those_of_looking_at_every_sample(
    samples: list[Sample],
) -> None:
    records = [
        Record(
            id=str(number),
            split=split,  # type: ignore[arg-type]
            task="vqa",
            images=tuple(images),
            image_digests=tuple(images),
            video=None,
            prompt=prompt,
            target=f"<{answer}>",
            truth=orjson.dumps({"groundings": []} if answer is None else {"answer": answer}).decode(),
            group="g",
            width=1,
            height=1,
            digest="0" * 64,
            source_file="f",
            source_line=number,
            escaped=escaped,
        )
        for number, (split, answer, images, prompt, escaped) in enumerate(samples)
    ]
    with tempfile.TemporaryDirectory() as folder:
        write_records(Path(folder) / "records.parquet", records)
        counts = Counts(RecordTable(Path(folder) / "records.parquet"))
    answers = {
        side: [answer for split, answer, *_ in samples if split == side and answer is not None]
        for side in ("train", "validation")
    }
    assert counts.distinct_answers == (len({*answers["train"], *answers["validation"]}) or None)
    if counts.majority_answer is None:
        assert not answers["train"]
    else:
        frequent = Counter(answers["train"])
        assert counts.majority_answer == min(frequent, key=lambda answer: (-frequent[answer], answer))
        assert counts.majority_validates == answers["validation"].count(counts.majority_answer)
    assert counts.characters["answer"] == Counter(len(each) for side in answers.values() for each in side)
    assert counts.characters["prompt"] == Counter(len(record.prompt) for record in records)
    assert counts.characters["target"] == Counter(len(record.target) for record in records)
    assert counts.samples == Counter(record.split for record in records)
    for side, found in counts.images.items():
        assert found == {digest for record in records if record.split == side for digest in record.image_digests}
    assert counts.images_per_sample == max((len(record.images) for record in records), default=0)
    assert counts.changed["escaped"] == {
        "times": sum(record.escaped for record in records),
        "samples": sum(record.escaped > 0 for record in records),
    }
    longest = max((len(record.prompt) + len(record.target) for record in records), default=None)
    assert (counts.longest or {}).get("characters") == longest
