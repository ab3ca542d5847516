"""How two datasets differ: sample by sample, and property by property."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airtune.datasets.comparison.drift import Drift, Side, compare
from airtune.datasets.comparison.profile import MOST_COUNTED, Profile, profile_of
from airtune.datasets.comparison.sample_changes import sample_changes
from airtune.datasets.fingerprint import fingerprint, sample_digest
from airtune.datasets.record import Record, write_records
from airtune.errors import DataError


def sha(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


def vqa(picture: object, prompt: str, answer: str, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "split": "train", "task": "vqa", "images": (f"{picture}.jpg",), "image_digests": (sha(picture),), "video": None,
        "prompt": prompt, "target": json.dumps({"vqa": {"answer": answer}}), "truth": json.dumps({"answer": answer}),
        "group": sha(picture), "width": 640, "height": 480, "source_file": "a.jsonl", "source_line": 1,
    }  # fmt: skip
    fields |= changes
    digest = sample_digest(
        task="vqa", image_digests=fields["image_digests"], prompt=prompt, truth=json.loads(fields["truth"])
    )
    return Record(id=digest[:16], digest=digest, **fields)


def grounding(picture: object, groundings: dict[str, list[list[int]]], size: tuple[int, int] = (640, 480)) -> Record:
    truth = {
        "sentence": ", ".join(groundings),
        "groundings": [{"phrase": phrase, "boxes": boxes} for phrase, boxes in groundings.items()],
    }
    return vqa(picture, "", "", truth=json.dumps(truth), task="phrase-grounding", width=size[0], height=size[1])


Compare = Callable[[Sequence[Record], Sequence[Record]], Drift]


@pytest.fixture
def drift(tmp_path: Path) -> Compare:
    def run(before: Sequence[Record], after: Sequence[Record]) -> Drift:
        sides, tables = [], []
        for name, records in (("before", before), ("after", after)):
            path = tmp_path / f"{name}.parquet"
            write_records(path, records)
            images = len({record.images for record in records})
            sides.append(Side(name, f"file:///{name}", len(records), images, fingerprint(r.digest for r in records)))
            tables.append((path, tmp_path / "none.parquet"))
        return compare(*sides, before_tables=tables[0], after_tables=tables[1])

    return run


def levels(found: Drift) -> dict[str, str]:
    return {each.what.name: each.level for each in found.properties}


def test_a_dataset_has_not_changed_against_itself(drift: Compare) -> None:
    records = [vqa(i, "How many?", str(i % 5)) for i in range(200)]
    found = drift(records, list(reversed(records)))
    assert found.same
    assert (found.changes.same, found.changes.added, found.changes.removed, found.changes.changed) == (200, 0, 0, 0)
    assert found.level == "none"
    assert found.words == "the same samples as before"


def test_each_kind_of_change_is_told_apart_and_the_counts_close(drift: Compare) -> None:
    stay = [vqa(i, "What?", f"a{i}") for i in range(50)]
    before = [
        *stay,
        vqa("x", "What?", "cat"),
        vqa("y", "Whot?", "dog"),
        vqa("z", "What?", "fox"),
        vqa("g", "?", "gone"),
    ]
    other_picture = vqa("z", "What?", "fox", image_digests=(sha("edited"),))
    after = [*stay, vqa("x", "What?", "lynx"), vqa("y", "What?", "dog"), other_picture, vqa("n", "!", "new"), stay[0]]
    changes = drift(before, after).changes
    assert changes.changed_parts == {"answer": 1, "question": 1, "picture": 1}
    assert (changes.same, changes.added, changes.removed) == (50, 2, 1)
    assert changes.same + changes.changed + changes.removed == len(before)
    assert changes.same + changes.changed + changes.added == len(after)
    told = {each.part: (each.before, each.after) for each in changes.changes}
    assert json.loads(told["answer"][0]["target"]) == {"vqa": {"answer": "cat"}}
    assert json.loads(told["answer"][1]["target"]) == {"vqa": {"answer": "lynx"}}
    assert [told["question"][side]["prompt"] for side in (0, 1)] == ["Whot?", "What?"]
    assert told["picture"][0]["images"] == told["picture"][1]["images"] == ["z.jpg"]
    assert [each["prompt"] for each in changes.removed_samples] == ["?"]
    assert {each["prompt"] for each in changes.added_samples} == {"!", "What?"}  # the second copy of a sample is new


def test_questions_with_the_same_answer_are_not_taken_for_one_another(drift: Compare) -> None:
    before = [vqa("p", f"Is it {word}?", "yes") for word in ("red", "big")]
    after = [vqa("p", f"Is it {word}?", "yes") for word in ("blue", "small")]
    changes = drift(before, after).changes
    assert (changes.added, changes.removed, changes.changed) == (2, 2, 0)


def test_a_sample_on_the_other_side_of_the_split_is_the_same_sample_moved(drift: Compare) -> None:
    before = [vqa(i, "What?", "x") for i in range(30)]
    after = [dataclasses.replace(r, split="validation") if i < 4 else r for i, r in enumerate(before)]
    changes = drift(before, after).changes
    assert (changes.same, changes.moved, changes.changed) == (30, 4, 0)


def test_answers_that_come_up_more_often_are_drift_with_their_shares(drift: Compare) -> None:
    before = [vqa(i, "What?", "cat" if i % 2 else "dog") for i in range(300)]
    after = [vqa(i, "What?", "cat" if i % 10 else "dog") for i in range(1000, 1300)]
    found = drift(before, after)
    assert levels(found)["answers"] == "much"
    assert levels(found)["image_width"] == levels(found)["questions"] == "none"
    answers = next(each for each in found.drifted if each.what.name == "answers")
    assert '"cat" 50.0% before, 90.0% now' in answers.words
    assert found.level == "much"
    assert "drifted: answers" in found.words


def test_classes_and_boxes_drift_apart_from_each_other(drift: Compare) -> None:
    generator = np.random.default_rng(1)

    def boxes(side: int) -> list[list[int]]:
        left, top = generator.integers(0, 900 - side, 2).tolist()
        return [[left, top, left + side + int(generator.integers(20)), top + side + int(generator.integers(20))]]

    before = [grounding(i, {"a car": boxes(100)}) for i in range(200)]
    after = [grounding(i, {"a car": boxes(300)}) for i in range(300, 500)]
    found = levels(drift(before, after))
    assert found["box_area"] == "much"
    assert found["phrases"] == found["boxes_per_sample"] == "none"
    other = [grounding(i, {"a bus" if i % 2 else "a car": boxes(100)}) for i in range(300, 500)]
    found = levels(drift(before, other))
    assert found["phrases"] == "much"
    assert found["box_area"] == found["box_aspect"] == "none"


def test_pictures_of_another_size_and_longer_questions_are_drift(drift: Compare) -> None:
    before = [vqa(i, f"How many things {i % 7}?", "1") for i in range(200)]
    after = [vqa(i, f"Please say: how many things {i % 7} are there?", "1", width=1280) for i in range(500, 700)]
    found = levels(drift(before, after))
    assert found["image_width"] == found["prompt_characters"] == found["questions"] == "much"
    assert found["image_height"] == "none"


def test_two_draws_of_the_same_data_have_not_drifted(drift: Compare) -> None:
    generator = np.random.default_rng(2)
    for count in (25, 150, 1500):
        draws = [
            [
                vqa(f"{count}-{side}-{i}", f"Q{generator.integers(4)}", f"a{generator.geometric(0.3)}",
                    width=int(generator.integers(400, 900)))
                for i in range(count)
            ]
            for side in range(2)
        ]  # fmt: skip
        found = drift(draws[0], draws[1])
        assert found.level == "none", found.words


def test_what_only_the_table_of_images_knows_is_compared_once_an_image(tmp_path: Path) -> None:
    records = [vqa(i // 3, f"Q{i % 3}", "x") for i in range(30)]
    write_records(tmp_path / "records.parquet", records)
    images = [
        {"key": f"{name}{i}.jpg", "digest": sha(i), "width": 64, "height": 48, "format": "JPEG", "bytes": 100 + i,
         "brightness": 10.0 * i}
        for name in ("a", "copy-of-a")
        for i in range(20)
    ]  # fmt: skip
    parquet.write_table(pa.Table.from_pylist(images), tmp_path / "images.parquet")
    profile = profile_of(tmp_path / "records.parquet", tmp_path / "images.parquet")
    assert list(profile.numbers["brightness"]) == [10.0 * i for i in range(10)]
    assert profile.counts["image_format"] == {"JPEG": 10}
    assert list(profile.numbers["image_width"]) == [64] * 10  # of the table, not of the records
    without = profile_of(tmp_path / "records.parquet", tmp_path / "none.parquet")
    assert list(without.numbers["image_width"]) == [640] * 10
    assert "brightness" not in without.numbers


def test_the_content_of_drift_json_is_json_and_names_every_statistic(drift: Compare) -> None:
    before = [vqa(i, "What?", str(i % 3)) for i in range(60)]
    after = [vqa(i, "What?", str(i % 2)) for i in range(30, 90)]
    document = json.loads(json.dumps(drift(before, after).to_json(), allow_nan=False))
    assert document["samples"]["same"] + document["samples"]["removed"] + document["samples"]["changed"] == 60
    for each in document["properties"]:
        assert each["level"] in ("none", "some", "much")
        assert 0 <= each["p_value"] <= each["adjusted_p_value"] <= 1
        assert each["psi"] >= 0
        assert sum(bar["before"] for bar in each["bins"]) == pytest.approx(1)
        assert each["words"].startswith(each["title"])


def test_texts_beyond_number_do_not_fill_the_memory() -> None:
    profile = Profile()
    for start in range(0, 3 * MOST_COUNTED, 50_000):
        profile.count("answers", {**{f"caption {start + i}": 1 for i in range(50_000)}, "often": 9})
    assert len(profile.counts["answers"]) <= MOST_COUNTED + 50_001
    assert profile.counts["answers"].total() == 3 * MOST_COUNTED + 9 * 12
    assert profile.counts["answers"]["often"] == 9 * 12


def test_a_table_that_is_gone_or_broken_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing"):
        sample_changes(tmp_path / "a.parquet", tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(DataError, match="not a table"):
        profile_of(tmp_path / "a.parquet")


def test_an_empty_side_gives_counts_and_no_statistics(drift: Compare) -> None:
    found = drift([], [vqa(1, "What?", "x")])
    assert (found.changes.added, found.changes.removed, found.properties) == (1, 0, ())


samples = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["Q1", "Q2"]), st.sampled_from(["yes", "no"]), st.booleans()),
    max_size=14,
)


@given(samples, samples)
@settings(max_examples=60, deadline=None)
def test_the_counts_close_whatever_is_in_both(one: list[tuple[int, str, str, bool]], two: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("one.parquet", "two.parquet")]
        for path, rows in zip(paths, (one, two), strict=True):
            write_records(path, [vqa(p, q, a, split="train" if side else "validation") for p, q, a, side in rows])
        changes = sample_changes(*paths)
        back = sample_changes(*reversed(paths))
    assert changes.same + changes.changed + changes.removed == len(one)
    assert changes.same + changes.changed + changes.added == len(two)
    assert changes.moved <= changes.same == (Counter(r[:3] for r in one) & Counter(r[:3] for r in two)).total()
    assert (changes.same, changes.added, changes.changed, changes.moved) == (
        back.same, back.removed, back.changed, back.moved,
    )  # fmt: skip
