"""From one format to another: nothing is lost that the other can hold, and what it cannot is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from boxes_reading import put
from broken_datasets import SPECIMENS
from detection_formats import SCENES, WRITERS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.datasets.conftest import ViFolder, grounding, line_of, vqa

from airtune.datasets import conversion
from airtune.datasets.annotations.control_tokens import ControlTokens
from airtune.datasets.conversion import Converted, convert
from airtune.datasets.draft import Draft, Reject
from airtune.datasets.pictures.images import Images
from airtune.datasets.pictures.inspection import inspect
from airtune.datasets.readers.formats import reader_for
from airtune.datasets.samples import SAMPLE_COLUMNS, sample_of
from airtune.datasets.sources.source import Source
from airtune.errors import DataError, SettingsError
from airtune.runspec.tasks import Task

TASKS = (Task.PHRASE_GROUNDING, Task.VQA, Task.FREEFORM)
BOX = [[0.1, 0.2, 0.5, 0.6]]


def to(source: Path, target: Path, name: str, **settings: Any) -> Converted:
    return convert(source.as_uri(), target, name, tell=lambda line: None, **settings)


def digests(root: Path, *tasks: Task) -> list[tuple[str, str | None]]:
    """What the dataset has to train, by content, with its side."""
    source = Source.open(root.as_uri())
    _, reader = reader_for(source, None)
    places = {name: place for place, name in enumerate(SAMPLE_COLUMNS)}
    found = []
    for task in tasks:
        rows = [outcome for outcome in reader.read(task) if isinstance(outcome, Draft)]
        inspected = inspect(Images(source.uri), {key for row in rows for key in row.images})
        for row in rows:
            try:
                values, _ = sample_of(row, inspected, task, None, ControlTokens())
            except Reject:
                continue
            found.append((values[places["digest"]], values[places["split"]]))
    return sorted(found, key=str)


@pytest.fixture
def mixed(folder: ViFolder) -> Path:
    """A Vi export of all three kinds, with what is easily lost."""
    folder.sample("training", "a", vqa(("How many?", "Two"), ('Is "this" a \\ car?', "Größe\nzwei")))
    corners = [[[0.5, 0.0], [0.75, 0.0], [0.75, 0.5], [0.5, 0.5]], [0.013, 0.5, 0.131, 1.0]]
    folder.sample("training", "b", grounding("A red car near a car", ("A red car", BOX), ("car", corners)))
    folder.annotate("training", "c.jsonl", line_of("a.png", {"type": "Freeform", "text": "  A picture of\ta cat. "}))
    folder.image("training", "b.jpg")
    folder.annotate("training", "d.jsonl", line_of("b.jpg", {"type": "Freeform", "text": "Another"}))
    folder.sample("validation", "a", vqa(("How many?", '{"vqa":{"answer":"x"}}')))
    folder.sample("validation", "z", grounding("car, cat", ("car", BOX), ("cat", BOX)), size=(33, 80))
    return folder.root


def test_vi_to_vi_loses_nothing(mixed: Path, tmp_path: Path) -> None:
    done = to(mixed, tmp_path / "out", "vi")
    assert (done.samples, done.left) == ({"phrase-grounding": 2, "vqa": 3, "freeform": 2}, {})
    assert digests(tmp_path / "out", *TASKS) == digests(mixed, *TASKS)
    assert not done.left_file
    # Questions that stood on one line stay on one.
    lines = [json.loads(line) for line in (tmp_path / "out/training/annotations/a.jsonl").read_text().splitlines()]
    assert [len(line["contents"].get("interactions", [])) for line in lines] == [2, 0]
    phrases = json.loads((tmp_path / "out/training/annotations/b.jsonl").read_text())["contents"]["groundedPhrases"]
    assert [(item["startTokenIndex"], item["endTokenIndex"]) for item in phrases] == [(0, 9), (6, 9)]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("through", ["vi", "chat-jsonl"])
def test_a_task_goes_through_chat_and_back_and_loses_nothing(
    mixed: Path, tmp_path: Path, task: Task, through: str
) -> None:
    to(mixed, tmp_path / "chat", "chat-jsonl", task=task)
    to(tmp_path / "chat", tmp_path / "back", through, task=task)
    assert digests(tmp_path / "chat", task) == digests(mixed, task)
    assert digests(tmp_path / "back", task) == digests(mixed, task)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("target", ["vi", "coco"])
def test_boxes_go_from_every_format_to_another_and_stay_the_same(name: str, target: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / "in", SCENES)
    done = to(tmp_path / "in", tmp_path / "out", target)
    assert digests(tmp_path / "out", Task.PHRASE_GROUNDING) == digests(tmp_path / "in", Task.PHRASE_GROUNDING)
    # The image that shows nothing: COCO has it without annotations, Vi has no line for it, and it is named.
    holds = target == "coco" or name == "vi"
    assert done.left == ({} if holds else {"not-representable": 1})
    if target == "coco" and name != "vi":
        document = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
        assert len(document["images"]) == 3
        assert document["annotations"][0]["bbox"] == [int(edge) for edge in document["annotations"][0]["bbox"]]


def test_what_a_format_cannot_hold_is_named(mixed: Path, tmp_path: Path) -> None:
    done = to(mixed, tmp_path / "out", "coco")
    assert done.samples == {"phrase-grounding": 1, "freeform": 2}
    assert done.left == {"not-representable": 4}
    assert done.left_file is not None
    rows = [json.loads(line) for line in done.left_file.read_text().splitlines()]
    assert {(row["source_file"].partition("/")[2], row["sample"]) for row in rows} == {
        ("annotations/a.jsonl", 1), ("annotations/a.jsonl", 2), ("annotations/b.jsonl", 1)
    }  # fmt: skip
    assert any("more than the names of classes" in row["message"] for row in rows)
    assert digests(tmp_path / "out", Task.FREEFORM) == digests(mixed, Task.FREEFORM)


def test_words_that_chat_takes_for_the_place_of_an_image_are_named(mixed: Path, tmp_path: Path) -> None:
    line = line_of("a.png", {"type": "Freeform", "text": "An <image>"})
    (mixed / "training/annotations/c.jsonl").write_text(json.dumps(line))
    done = to(mixed, tmp_path / "out", "chat-jsonl", task=Task.FREEFORM)
    assert (done.samples, done.left["not-representable"]) == ({"freeform": 1}, 1)


def test_broken_samples_are_named_with_their_own_reason_and_once(mixed: Path, tmp_path: Path) -> None:
    annotations = mixed / "training/annotations"
    (annotations / "bad.jsonl").write_text(
        "nonsense\n"
        + json.dumps(line_of("a.png", grounding("car", ("car", [[0.9, 0.2, 0.1, 0.6]]))))
        + "\n"
        + json.dumps(line_of("gone.png", vqa(("What?", "x"))))
        + "\n"
        + json.dumps(line_of("a.png", {"type": "Polygon"}))
        + "\n"
    )
    done = to(mixed, tmp_path / "out", "vi")
    assert done.left == {"annotation-malformed": 1, "box-inverted": 1, "image-missing": 1, "annotation-shape": 1}


def test_an_annotation_that_is_for_none_of_the_tasks_is_named(tmp_path: Path) -> None:
    put(tmp_path, {"in/a.png": None, "in/a.csv": "filename,x,y,width,height,class\na.png,1,2,3,4,cat\n"})
    with pytest.raises(DataError, match="no sample can be written as coco: 1 other-task"):
        to(tmp_path / "in", tmp_path / "out", "coco", task=Task.VQA)
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_and_nothing_is_left_half_done(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    for target in (tmp_path / "there", mixed / "inside"):
        with pytest.raises(SettingsError, match="DST"):
            to(mixed, target, "vi")
    with pytest.raises(SettingsError, match="vi, coco, chat-jsonl"):
        to(mixed, tmp_path / "out", "voc")
    monkeypatch.setattr(conversion.ViWriter, "close", lambda self: 1 / 0)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ZeroDivisionError):
        to(mixed, tmp_path / "out", "vi")
    assert [path for path in sorted(tmp_path.iterdir()) if path not in before] == []


def test_images_of_one_name_in_several_folders_do_not_meet(tmp_path: Path) -> None:
    rows = "x/a.png,1,2,30,40,cat\ny/a.png,1,2,30,40,cat\nA.png,1,2,30,40,cat\n"
    images = {"in/x/a.png": None, "in/y/a.png": None, "in/A.png": None}
    put(tmp_path, {**images, "in/a.csv": "filename,x,y,width,height,class\n" + rows})
    done = to(tmp_path / "in", tmp_path / "out", "vi", link=True)
    assert (done.samples, done.images) == ({"phrase-grounding": 3}, 3)
    assert len(digests(tmp_path / "out", Task.PHRASE_GROUNDING)) == 3
    assert digests(tmp_path / "out", Task.PHRASE_GROUNDING) == digests(tmp_path / "in", Task.PHRASE_GROUNDING)
    linked = {path.name: path.stat().st_nlink for path in (tmp_path / "out/dump/images").iterdir()}
    assert set(linked.values()) == {2}
    assert len({name.casefold() for name in linked}) == 3


def test_an_image_at_another_size_than_annotated_keeps_its_boxes(tmp_path: Path) -> None:
    size = "<size><width>64</width><height>48</height></size>"
    box = "<bndbox><xmin>16</xmin><ymin>12</ymin><xmax>32</xmax><ymax>24</ymax></bndbox>"
    text = f"<annotation><filename>a.png</filename>{size}<object><name>cat</name>{box}</object></annotation>"
    put(tmp_path, {"in/a.xml": text})
    Image.new("RGB", (128, 96)).save(tmp_path / "in/a.png")
    for name in ("vi", "coco", "chat-jsonl"):
        to(tmp_path / "in", tmp_path / name, name)
        assert digests(tmp_path / name, Task.PHRASE_GROUNDING) == digests(tmp_path / "in", Task.PHRASE_GROUNDING)


def test_images_out_of_an_archive_and_out_of_a_table_become_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    WRITERS["yolo"](tmp_path / "yolo", SCENES)
    archive = Path(shutil.make_archive(str(tmp_path / "data"), "zip", tmp_path / "yolo"))
    to(archive, tmp_path / "coco", "coco", link=True)
    assert digests(tmp_path / "coco", Task.PHRASE_GROUNDING) == digests(tmp_path / "yolo", Task.PHRASE_GROUNDING)
    table = SPECIMENS / "huggingface"
    done = to(table, tmp_path / "vi", "vi")
    task = Task(next(iter(done.samples)))
    assert digests(tmp_path / "vi", task) == digests(table, task)
    assert all(path.suffix in (".png", ".jpg") for path in (tmp_path / "vi").glob("*/images/*"))


LETTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from("\"\\\n\t,'<>|{}\u2028\x85\ufeff")
WORDS = st.text(LETTERS, min_size=1, max_size=12)
ANSWERS = ['{"vqa":{"answer":"x"}}', '{"freeform":{"caption":"x"}}']
TEXTS = WORDS | st.sampled_from(["<image>", "<|im_end|>", " a ", *ANSWERS])
EDGES = st.lists(st.integers(0, 64), min_size=2, max_size=2, unique=True).map(sorted)
BOXES = st.tuples(EDGES, EDGES).map(lambda both: [both[0][0] / 64, both[1][0] / 48, both[0][1] / 64, both[1][1] / 48])
CONTENTS = (
    st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3).map(lambda pairs: vqa(*pairs))
    | TEXTS.map(lambda text: {"type": "Freeform", "text": text})
    | st.tuples(TEXTS, TEXTS, st.lists(BOXES, min_size=1, max_size=3)).map(
        lambda parts: grounding(f"{parts[0]} and {parts[1]}", (parts[1], parts[2]), (parts[0], parts[2][:1]))
    )
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(CONTENTS, min_size=1, max_size=4))
def test_whatever_stands_in_a_vi_export_goes_through_vi_and_chat(
    tmp_path_factory: pytest.TempPathFactory, contents: list[dict[str, Any]]
) -> None:
    root = tmp_path_factory.mktemp("any")
    folder = ViFolder(root / "in")
    folder.image("dump", "a.png")
    folder.annotate("dump", "a.jsonl", *(line_of("a.png", content) for content in contents))
    for name, tasks in (("vi", TASKS), *(("chat-jsonl", (task,)) for task in TASKS)):
        before = digests(folder.root, *tasks)
        target = root / f"{name}-{len(tasks)}-{tasks[0].value}"
        try:
            done = to(folder.root, target, name, task=tasks[0] if len(tasks) == 1 else None)
        except DataError:  # not one sample can be written
            assert not before or name != "vi"
            continue
        after = digests(target, *tasks)
        if name == "vi":
            assert after == before
        assert not [row for row in after if row not in before]
        assert len(after) >= len(before) - done.left.get("not-representable", 0)
