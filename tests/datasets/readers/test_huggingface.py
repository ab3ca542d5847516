"""Hugging Face dataset folders: written by the ``datasets`` library itself, read without it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image
from tests.datasets.conftest import NewRun

from airtune.datasets.check import Asked, check
from airtune.datasets.draft import Draft, Outcome, SetAside
from airtune.datasets.pictures.images import Images
from airtune.datasets.readers.formats import reader_for
from airtune.datasets.readers.hub_files import hub_files
from airtune.datasets.readers.huggingface import HuggingFaceReader
from airtune.datasets.record import read_records
from airtune.datasets.sources.source import Source
from airtune.datasets.stage import validate
from airtune.errors import DataError
from airtune.runspec.tasks import Task
from airtune.stores import layout

ROWS = 30


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    (tmp_path / "pictures").mkdir()
    paths = [tmp_path / f"pictures/{number:02}.png" for number in range(ROWS)]
    for number, path in enumerate(paths):
        Image.new("RGB", (32, 24), (number * 8, 255 - number * 8, 99)).save(path)
    return paths


def dataset(pictures: list[Path], **columns: Any) -> Any:
    import datasets

    given = {"image": [{"bytes": path.read_bytes(), "path": path.name} for path in pictures], **columns}
    return datasets.Dataset.from_dict(given).cast_column("image", datasets.Image())


def questions(pictures: list[Path]) -> dict[str, list[str]]:
    numbers = range(len(pictures))
    return {"question": [f"Number {n}?" for n in numbers], "answer": [f"It is {n % 5}" for n in numbers]}


def read(root: Path, task: Task = Task.VQA) -> list[Outcome]:
    return list(HuggingFaceReader(Source.open(root.as_uri())).read(task))


def write(root: Path, rows: list[dict[str, Any]], name: str = "train.parquet", schema: pa.Schema | None = None) -> Path:
    root.mkdir(exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), root / name)
    return root


def drafts(outcomes: list[Outcome]) -> list[Draft]:
    assert all(isinstance(outcome, Draft) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Draft)]


def only(outcomes: list[Outcome]) -> SetAside:
    [outcome] = outcomes
    assert isinstance(outcome, SetAside), outcome
    return outcome


def in_parquet(pictures: list[Path], root: Path) -> None:
    (root / "data").mkdir(parents=True)
    dataset(pictures[:24], **questions(pictures[:24])).to_parquet(str(root / "data/train-00000-of-00001.parquet"))
    rest = {name: values[24:] for name, values in questions(pictures).items()}
    dataset(pictures[24:], **rest).to_parquet(str(root / "data/validation-00000-of-00001.parquet"))


def in_arrow(pictures: list[Path], root: Path) -> None:
    import datasets

    everything = dataset(pictures, **questions(pictures))
    parts = {"train": everything.select(range(24)), "validation": everything.select(range(24, ROWS))}
    datasets.DatasetDict(parts).save_to_disk(str(root))


def in_image_folder(pictures: list[Path], root: Path) -> None:
    asked = questions(pictures)
    for split, numbers in (("train", range(24)), ("validation", range(24, ROWS))):
        (root / split).mkdir(parents=True)
        rows = []
        for number in numbers:
            (root / split / pictures[number].name).write_bytes(pictures[number].read_bytes())
            rows.append({"file_name": pictures[number].name, **{name: asked[name][number] for name in asked}})
        (root / split / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def in_csv_image_folder(pictures: list[Path], root: Path) -> None:
    in_image_folder(pictures, root)
    for path in root.rglob("metadata.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        lines = ["file_name,question,answer", *(",".join(row.values()) for row in rows)]
        path.with_name("metadata.csv").write_text("\n".join(lines))
        path.unlink()


def in_chat(pictures: list[Path], root: Path) -> None:
    in_image_folder(pictures, root)
    for path in root.rglob("metadata.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [{"image": row["file_name"], "question": row["question"], "answer": row["answer"]} for row in rows]
        path.with_name("data.json").write_text(json.dumps(lines))
        path.unlink()


def test_every_form_of_a_dataset_is_the_same_dataset(pictures: list[Path], tmp_path: Path, new_run: NewRun) -> None:
    found = set()
    for write_in in (in_parquet, in_arrow, in_image_folder, in_csv_image_folder, in_chat):
        root = tmp_path / write_in.__name__
        write_in(pictures, root)
        run = new_run(root.as_uri())
        validate(run)
        facts = json.loads(run.store.read(layout.FACTS))
        assert (facts["train_samples"], facts["validation_samples"], facts["set_aside"]) == (24, 6, 0)
        found.add((facts["fingerprint"], facts["evaluation_set_digest"]))
        result = json.loads(run.store.read(layout.VALIDATION_RESULT))
        assert not any("suffix" in note or "not used" in note for note in (*result["notes"], *result["warnings"]))
        records = read_records(run.workspace / layout.RECORDS)
        images = Images(root.as_uri())
        assert images.verify(records) == ROWS
        assert images.load(records[0].images[0], records[0].image_digests[0]).size == (32, 24)
    assert len(found) == 1


def test_a_table_that_changed_since_validation_is_named(pictures: list[Path], tmp_path: Path, new_run: NewRun) -> None:
    root = tmp_path / "data"
    in_parquet(pictures, root)
    run = new_run(root.as_uri())
    validate(run)
    records = read_records(run.workspace / layout.RECORDS)
    (root / "data/validation-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match=f"6 of {ROWS} images are gone"):
        Images(root.as_uri()).verify(records)


PATTERNS = """
configs:
- config_name: default
  data_files:
  - split: train
    path: x/t*.parquet
  - split: validation
    path:
    - x/o??.parquet
"""
SECOND = """
configs:
- config_name: en
  data_files: en/train.parquet
- config_name: de
  default: true
  data_files:
  - split: train
    path: "de/*.parquet"
  - split: test
    path: "de/**/test.parquet"
"""
LAYOUTS = {
    "names": (["data/train-0.parquet", "data/test-0.parquet"], ""),
    "folders": (["train/0.parquet", "val/0.parquet"], ""),
    "no split": (["a.parquet", "b.parquet"], ""),
    "readme": (["x/one.parquet", "x/two.parquet", "x/three.parquet"], PATTERNS),
    "readme, default of two": (["en/train.parquet", "de/train.parquet", "de/sub/test.parquet"], SECOND),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_files_of_each_split_are_those_that_the_datasets_library_takes(tmp_path: Path, name: str) -> None:
    import datasets

    files, front = LAYOUTS[name]
    for file in files:
        (tmp_path / "d" / file).parent.mkdir(parents=True, exist_ok=True)
        write((tmp_path / "d" / file).parent, [{"text": file}], Path(file).name)
    if front:
        (tmp_path / "d/README.md").write_text(f"---\nlicense: mit\n{front}---\n# A dataset\n")
    config = "de" if "default of two" in name else None
    builder = datasets.load_dataset_builder(str(tmp_path / "d"), config)
    theirs = {
        Path(path).relative_to(tmp_path / "d").as_posix(): str(split)
        for split, paths in builder.config.data_files.items()
        for path in paths
    }
    ours = hub_files(Source.open((tmp_path / "d").as_uri())).sides
    assert set(ours) == set(theirs)
    for file, side in ours.items():
        assert side == {"train": "train", "test": "validation"}.get(theirs[file], theirs[file]) or name == "no split"


def test_two_configurations_of_which_none_is_the_default_are_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "d", [{"text": "x"}])
    front = "".join(f"- config_name: {name}\n  data_files: {name}/*.parquet\n" for name in ("en", "de"))
    (tmp_path / "d/README.md").write_text(f"---\nconfigs:\n{front}---\n")
    with pytest.raises(DataError, match="2 configurations, and one is trained: en, de"):
        read(tmp_path / "d")


def test_leftovers_of_the_library_are_not_read_twice(pictures: list[Path], tmp_path: Path) -> None:
    dataset(pictures[:3], **{name: values[:3] for name, values in questions(pictures).items()}).save_to_disk(
        str(tmp_path / "d")
    )
    [arrow] = (tmp_path / "d").glob("*.arrow")
    for name in ("cache-0123abcd.arrow", "data-00000-of-00007.arrow"):
        (tmp_path / "d" / name).write_bytes(arrow.read_bytes())
    reader = HuggingFaceReader(Source.open((tmp_path / "d").as_uri()))
    assert len(list(reader.read(Task.VQA))) == 3
    assert any("2 Arrow files are leftovers" in note for note in reader.notes())


PNG = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CELL = {"bytes": b"x", "path": None}
TALK = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I"}]


def rows_for(task: Task) -> Iterator[tuple[dict[str, Any], str | None, dict[str, Any]]]:
    """A row, the question that it asks, and its truth."""
    if task is Task.VQA:
        answer = {"answer": "I"}
        yield {"image": CELL, "messages": TALK}, "Who?", answer
        yield {"images": [CELL], "texts": [{"user": "Who?", "assistant": "I"}]}, "Who?", answer
        yield {"image": CELL, "Question": "Who?", "Answer": "I"}, "Who?", answer
        yield {"image": CELL, "query": "Who?", "answers": ["You", "I", "I"]}, "Who?", answer
        yield {"image": CELL, "question": "Who?", "multiple_choice_answer": "I", "answers": ["You"]}, "Who?", answer
        yield {"image": CELL, "question": "Who?", "choices": ["You", "I"], "answer": 1}, "Who?\nYou\nI", answer
        yield {"image": CELL, "question": "How many?", "answer": 2}, "How many?", {"answer": "2"}
        yield {"image": CELL, "prompt": TALK[:1], "completion": TALK[1:]}, "Who?", answer
        yield {"jpg": CELL, "prompt": "Who?", "completion": "I", "mask": CELL}, "Who?", answer
        yield {"image_1": CELL, "image_2": None, "question": "Who?", "answer": "I"}, "Who?", answer
    if task is Task.FREEFORM:
        yield {"image": CELL, "caption": "A cat"}, None, {"caption": "A cat"}
        yield {"image": CELL, "text": "A cat"}, None, {"caption": "A cat"}
        yield {"image": CELL, "messages": TALK}, "Who?", {"caption": "I"}
    if task is Task.GENERIC:
        yield {"image": CELL, "question": "Who?", "answer": "I"}, "Who?", {"text": "I"}
        yield {"image": CELL, "text": "A cat"}, None, {"text": "A cat"}
        yield {"messages": TALK}, "Who?", {"text": "I"}
    if task is Task.PHRASE_GROUNDING:
        truth = {"sentence": "cat", "groundings": [{"phrase": "cat", "boxes": [[1.0, 2.0, 4.0, 6.0]]}]}
        objects = {"bbox": [[1.0, 2.0, 3.0, 4.0]], "category": ["cat"]}
        yield {"image": CELL, "objects": objects}, None, truth
        yield {"image": CELL, "objects": [{"bbox": [1.0, 2.0, 3.0, 4.0], "label": "cat"}]}, None, truth
        marked = [{"role": "user", "content": "Find"}, {"role": "assistant", "content": "<ref-object><bbox>"}]
        beside = {"ref": ["cat"], "bbox": [[1.0, 2.0, 4.0, 6.0]]}
        yield {"image": CELL, "messages": marked, "objects": beside}, "Find", truth


@pytest.mark.parametrize("task", [Task.VQA, Task.FREEFORM, Task.GENERIC, Task.PHRASE_GROUNDING])
def test_columns_are_found_by_name_and_content(tmp_path: Path, task: Task) -> None:
    for number, (row, prompt, truth) in enumerate(rows_for(task)):
        root = write(tmp_path / str(number), [row])
        [draft] = drafts(read(root, task))
        assert (draft.prompt, draft.truth) == (prompt, truth), row
        shown = [name for name in row if row[name] is not None and name.startswith(("image", "jpg"))]
        assert len(draft.images) == len(shown)
        assert all(key.startswith("train.parquet#000000/") for key in draft.images)


def test_several_captions_are_samples_of_their_own(tmp_path: Path) -> None:
    root = write(tmp_path / "d", [{"image": CELL, "captions": ["A cat", " ", "A pet"]}])
    first, second, third = read(root, Task.FREEFORM)
    assert isinstance(first, Draft)
    assert isinstance(third, Draft)
    assert [first.truth["caption"], third.truth["caption"], third.place.index] == ["A cat", "A pet", 3]
    assert isinstance(second, SetAside)
    assert second.reason == "answer-empty"


def test_classes_have_the_names_that_the_dataset_brings(pictures: list[Path], tmp_path: Path) -> None:
    import datasets

    cats = datasets.ClassLabel(names=["cat", "dog"])
    boxes = datasets.List({"bbox": datasets.List(datasets.Value("float32")), "category": cats})
    given = dataset(pictures[:2], label=[1, 0], objects=[[{"bbox": [0, 0, 4, 4], "category": n}] for n in (0, 1)])
    (tmp_path / "d").mkdir()
    given.cast_column("label", cats).cast_column("objects", boxes).to_parquet(str(tmp_path / "d/train.parquet"))
    assert [draft.truth["caption"] for draft in drafts(read(tmp_path / "d", Task.FREEFORM))] == ["dog", "cat"]
    assert [draft.truth["sentence"] for draft in drafts(read(tmp_path / "d", Task.PHRASE_GROUNDING))] == ["cat", "dog"]


BOX = [0.0, 0.0, 4.0, 4.0]
BAD: list[tuple[Task, dict[str, Any], str, str]] = [
    (Task.VQA, {"image": CELL, "q": "Who?", "answer": "I"}, "columns-unknown", "'q' (text), 'answer' (text)"),
    (Task.VQA, {"question": "Who?", "answer": "I"}, "columns-unknown", "no column with the image"),
    (Task.VQA, {"left": CELL, "right": CELL, "question": "a", "answer": "b"}, "columns-unknown", "left, right"),
    (Task.FREEFORM, {"image": CELL, "x": 1}, "columns-unknown", "'x' (a number)"),
    (Task.PHRASE_GROUNDING, {"image": CELL, "caption": "x"}, "columns-unknown", "boxes with their classes"),
    (Task.VQA, {"image": CELL, "question": "Who?", "choices": ["I"], "answer": 1}, "annotation-shape", "1 choices"),
    (Task.VQA, {"image": CELL, "question": "Who?", "answers": [""]}, "answer-empty", "is empty"),
    (Task.VQA, {"image": CELL, "question": " ", "answer": "I"}, "question-empty", "is empty"),
    (Task.VQA, {"image": {"bytes": None, "path": "a.png"}, "question": "a", "answer": "b"}, "image-missing", "a.png"),
    (Task.VQA, {"image": {"bytes": None, "path": "/a.png"}, "question": "a", "answer": "b"}, "image-outside", "/a"),
    (Task.VQA, {"image": "https://x.org/a.png", "question": "a", "answer": "b"}, "image-url", "URL"),
    (Task.PHRASE_GROUNDING, {"image": CELL, "objects": {"bbox": [[1.0]], "category": ["a"]}}, "box-shape", "[1.0]"),
    (
        Task.PHRASE_GROUNDING,
        {"image": CELL, "objects": {"bbox": [[0.0] * 4], "category": [7]}},
        "annotation-shape",
        "7",
    ),
    (Task.PHRASE_GROUNDING, {"image": CELL, "objects": [{"bbox": BOX, "x": 1}]}, "annotation-shape", "category"),
]


@pytest.mark.parametrize(("task", "row", "reason", "words"), BAD)
def test_what_cannot_be_used_is_set_aside_in_words(
    tmp_path: Path, task: Task, row: dict[str, Any], reason: str, words: str
) -> None:
    aside = only(read(write(tmp_path / "d", [row]), task))
    assert aside.reason == reason, aside.message
    assert words in aside.message


def test_an_empty_cell_and_no_box_are_set_aside(tmp_path: Path) -> None:
    schema = pa.schema([("image", PNG), ("question", pa.string()), ("answer", pa.string())])
    root = write(tmp_path / "d", [{"image": None, "question": "Who?", "answer": "I"}], schema=schema)
    assert only(read(root)).reason == "image-not-named"
    kind = pa.struct([("bbox", pa.list_(pa.list_(pa.float32()))), ("category", pa.list_(pa.string()))])
    root = write(
        tmp_path / "e",
        [{"image": CELL, "objects": {"bbox": [], "category": []}}],
        schema=pa.schema([("image", PNG), ("objects", kind)]),
    )
    assert only(read(root, Task.PHRASE_GROUNDING)).reason == "no-object"


def test_a_refused_dataset_lists_its_columns(tmp_path: Path, new_run: NewRun) -> None:
    root = write(tmp_path / "d", [{"image": CELL, "q": "Who?", "a": "I"}] * 30)
    with pytest.raises(DataError, match=r"'q' \(text\), 'a' \(text\)"):
        validate(new_run(root.as_uri()))


def boxes(root: Path) -> list[list[list[float]]]:
    return [draft.truth["groundings"][0]["boxes"] for draft in drafts(read(root, Task.PHRASE_GROUNDING))]


def test_corners_are_told_by_boxes_that_would_leave_their_images(tmp_path: Path, pictures: list[Path]) -> None:
    picture = {"bytes": pictures[0].read_bytes(), "path": None}  # 32 x 24
    near, far = [1.0, 1.0, 5.0, 5.0], [20.0, 10.0, 30.0, 20.0]

    def rows(*found: list[float]) -> list[dict[str, Any]]:
        return [{"image": picture, "objects": {"bbox": [box], "category": ["a"]}} for box in found]

    assert boxes(write(tmp_path / "corners", rows(near, far))) == [[near], [far]]
    assert boxes(write(tmp_path / "sizes", rows(near, [20.0, 10.0, 8.0, 9.0]))) == [
        [[1.0, 1.0, 6.0, 6.0]],
        [[20.0, 10.0, 28.0, 19.0]],
    ]
    assert boxes(write(tmp_path / "nobody knows", rows(near))) == [[[1.0, 1.0, 6.0, 6.0]]]
    reader = HuggingFaceReader(Source.open((tmp_path / "corners").as_uri()))
    assert len(list(reader.read(Task.PHRASE_GROUNDING))) == 2
    assert any("read as [xmin, ymin, xmax, ymax]" in note for note in reader.notes())


FIRST = '{"file_name":"00.png","question":"Who?","answer":"I"}'
THIRD = '{"file_name":"02.png","question":"a,b","answer":"c"}'


def test_a_damaged_table_and_a_damaged_line_are_set_aside(tmp_path: Path, pictures: list[Path]) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/train.parquet").write_bytes(b"PAR1 no more")
    assert only(read(tmp_path / "d")).reason == "annotation-malformed"
    root = tmp_path / "pictures"
    for name, lines in (
        ("metadata.csv", 'file_name,question,answer\n00.png,Who?,I\n01.png,What?\n02.png,"a,b",c\n03.png,x,"y"z\n'),
        ("metadata.jsonl", f"{FIRST}\n[1]\n{THIRD}\n{{broken\n"),
    ):
        (root / name).write_text(lines)
        outcomes = read(root)
        (root / name).unlink()
        assert [isinstance(outcome, Draft) for outcome in outcomes] == [True, False, True, False]
        assert [draft.images for draft in outcomes] == [("00.png",), (), ("02.png",), ()]


def test_columns_that_are_not_used_are_said(tmp_path: Path) -> None:
    root = write(tmp_path / "d", [{"image": CELL, "question": "Who?", "answers": ["I", "You"], "source": "x"}])
    name, reader = reader_for(Source.open(root.as_uri()), None)
    assert name == "huggingface"
    assert len(list(reader.read(Task.VQA))) == 1
    assert any("source" in note for note in reader.notes())
    assert any("1 questions have several answers" in note for note in reader.notes())


def test_folders_are_classes_where_the_run_says_so(tmp_path: Path, pictures: list[Path], new_run: NewRun) -> None:
    root = tmp_path / "d"
    for number, path in enumerate(pictures):
        folder = root / ("train" if number < 24 else "test") / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DataError, match="name `format` huggingface"):
        validate(new_run(root.as_uri(), "freeform"))
    run = new_run(root.as_uri(), "freeform", format="huggingface")
    validate(run)
    facts = json.loads(run.store.read(layout.FACTS))
    assert (facts["train_samples"], facts["validation_samples"], facts["set_aside"]) == (24, 6, 0)
    found = {record.source_file: record.truth for record in read_records(run.workspace / layout.RECORDS)}
    assert found["train/cat/00.png"] == '{"caption":"cat"}'
    assert found["test/dog/25.png"] == '{"caption":"dog"}'
    assert {outcome.reason for outcome in read(root, Task.VQA) if isinstance(outcome, SetAside)} == {"columns-unknown"}
    (root / "train/00.png").write_bytes(pictures[0].read_bytes())
    [aside] = [outcome for outcome in read(root, Task.FREEFORM) if isinstance(outcome, SetAside)]
    assert aside.place.file == "train/00.png"


@pytest.mark.nightly
@pytest.mark.training
def test_pictures_in_tables_in_an_archive_are_trained_on_where_nothing_is_unpacked_yet(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training_runs import resolved, train_to_end, training_rows, write_run

    in_parquet(pictures, tmp_path / "shapes")
    archive = tmp_path / "shapes.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in (tmp_path / "shapes").rglob("*.parquet"):
            packed.write(path, path.relative_to(tmp_path))
    (tmp_path / "work").mkdir()
    found = check(Asked(uri=archive.as_uri(), task=Task.VQA, minimum_images=10), tmp_path / "work", lambda line: None)
    records = found.assembly.records
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "another machine"))
    run = resolved(task="vqa", epochs=2, batch_size=8)
    directory = write_run((tmp_path / "store").as_uri(), "cells", run, records.rows(range(len(records))), archive)
    assert train_to_end(directory)["steps"] == 6
    rows = training_rows(directory, "metrics.jsonl")
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert len(list((tmp_path / "another machine/cache/tables").glob("*.arrow"))) == 2
