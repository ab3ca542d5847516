"""Reading YOLO."""

from __future__ import annotations

from pathlib import Path

import pytest
from boxes_reading import aside, boxes, drafts, put, read

from airtune.datasets.readers.formats import reader_for
from airtune.datasets.sources.source import Source
from airtune.errors import DataError
from airtune.runspec.tasks import Task

BOX = "0 0.5 0.5 0.25 0.5\n"


def test_a_line_is_a_class_and_centre_and_size_in_fractions(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": None, "a.txt": BOX + "\n1 .5 .25 0.5 5e-1\n", "classes.txt": "cat\nhot dog\n"})
    [draft] = drafts(read(tmp_path, "yolo")[0])
    assert boxes(draft) == {"cat": [[0.375, 0.25, 0.625, 0.75]], "hot dog": [[0.25, 0, 0.75, 0.5]]}
    assert (draft.images, draft.annotated_size, draft.units) == (("a.png",), None, "fraction")


@pytest.mark.parametrize(
    ("image", "label", "names"),
    [
        ("images/train/a.png", "labels/train/a.txt", "data.yaml"),
        ("train/images/a.png", "train/labels/a.txt", "data.yaml"),
        ("train/images/a.jpg.png", "train/labels/a.jpg.txt", "train/labels/classes.txt"),
        ("train/a.png", "train/a.txt", "obj.names"),
    ],
)
def test_labels_and_names_are_found_where_tools_put_them(tmp_path: Path, image: str, label: str, names: str) -> None:
    put(tmp_path, {image: None, label: BOX, names: "names: [cat, dog]\n" if names == "data.yaml" else "cat\r\ndog\r\n"})
    [draft] = drafts(read(tmp_path, "yolo")[0])
    assert (draft.images, draft.place.split, draft.truth["sentence"]) == ((image,), "train", "cat")


@pytest.mark.parametrize(
    "entries",
    [
        "train: images/a\nval: images/b\n",
        "path: ../datasets/x\ntrain: images/a\nval: [images/b]\n",
        "train: ../images/a\nval: ../images/b\n",
        "train: /home/me/x/images/a\nvalid: C:\\x\\images\\b\n",
        "train: a.txt\nval: b.txt\n",
    ],
)
def test_the_splits_of_data_yaml_are_followed_wherever_it_was_written(tmp_path: Path, entries: str) -> None:
    files: dict[str, str | bytes | None] = {"images/a/1.png": None, "images/b/2.png": None}
    files |= {"labels/a/1.txt": BOX, "labels/b/2.txt": BOX, "data.yaml": f"{entries}names:\n  0: cat\n  1: no\n"}
    put(tmp_path, files | {"a.txt": "./images/a/1.png\n", "b.txt": "/x/images/b/2.png\n"})
    splits = {draft.images[0]: draft.place.split for draft in drafts(read(tmp_path, "yolo")[0])}
    assert splits == {"images/a/1.png": "train", "images/b/2.png": "validation"}


def test_a_test_split_beside_a_validation_split_is_left_out_and_said(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        put(tmp_path, {f"images/{name}/{name}.png": None, f"labels/{name}/{name}.txt": BOX})
    put(
        tmp_path,
        {"data.yaml": "train: images/train\nval: images/val\ntest: images/test\nnames: [cat]", "read me.txt": ""},
    )
    outcomes, reader = read(tmp_path, "yolo")
    assert len(drafts(outcomes)) == 2
    assert "1 files of a test split are left out" in reader.notes()[0]
    assert "read me.txt" in reader.notes()[1]


def test_a_class_named_no_is_no_boolean(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": None, "a.txt": BOX, "data.yaml": "names:\n  '0': no\n"})
    assert drafts(read(tmp_path, "yolo")[0])[0].truth["sentence"] == "no"


def test_outlines_and_turned_boxes_become_the_boxes_around_them(tmp_path: Path) -> None:
    lines = "0 0.1 0.1 0.5 0.2 0.3 0.6\n0 0.5 0.1 0.9 0.5 0.5 0.9 0.1 0.5\n"
    put(tmp_path, {"a.png": None, "a.txt": lines, "classes.txt": "cat"})
    outcomes, reader = read(tmp_path, "yolo")
    assert boxes(drafts(outcomes)[0]) == {"cat": [[0.1, 0.1, 0.5, 0.6], [0.1, 0.1, 0.9, 0.9]]}
    assert reader.notes()[0].startswith("2 outlines or turned boxes")


def test_of_poses_the_box_is_used(tmp_path: Path) -> None:
    text = "names: [person]\nkpt_shape: [2, 3]\n"
    put(tmp_path, {"a.png": None, "a.txt": "0 0.5 0.5 0.5 0.5 0.1 0.1 2 0.9 0.9 1\n", "data.yaml": text})
    outcomes, reader = read(tmp_path, "yolo")
    assert boxes(drafts(outcomes)[0]) == {"person": [[0.25, 0.25, 0.75, 0.75]]}
    assert reader.notes() == []


BAD = [
    (" \n", "cat", "no-object"),
    ("0 0.5 0.5 0.5\n", "cat", 'annotation-shape: line 1: not a class and four fractions: "0 0.5 0.5 0.5"'),
    ("0 0.5 0.5 0.5 0.5 0.93\n", "cat", "annotation-shape: line 1: 5 numbers after the class"),
    (BOX + "0 a b c d\n", "cat", "annotation-shape: line 2: not a class"),
    (
        "7 0.5 0.5 0.5 0.5\n",
        "cat",
        "annotation-shape: line 1: the class 7 has no name: there are 1 names in classes.txt",
    ),
    ("0.5 0.5 0.5 0.5 0.5\n", "cat", "annotation-shape: line 1: the class 0.5 has no name"),
    ("1 0.5 0.5 0.5 0.5\n", "cat\n\ndog", "annotation-shape: line 1: the name of a class is empty"),
    (BOX, None, "annotation-shape: line 1: the classes have no names"),
    (b"0 0.5 0.5 0.5 0.5 \xff\n", "cat", "annotation-malformed: not UTF-8: byte 19"),
]


@pytest.mark.parametrize(("text", "names", "words"), BAD)
def test_what_is_wrong_is_set_aside_with_its_reason(
    tmp_path: Path, text: str | bytes, names: str | None, words: str
) -> None:
    put(tmp_path, {"labels/a.txt": text, "images/a.png": None, "labels/b.txt": BOX, "images/b.png": None})
    if names is not None:
        put(tmp_path, {"classes.txt": names})
    assert aside(read(tmp_path, "yolo")[0][:1]).startswith(words)


def test_labels_without_an_image_and_other_tasks(tmp_path: Path) -> None:
    put(tmp_path, {"labels/a.txt": BOX, "images/b.png": None, "classes.txt": "cat"})
    assert aside(read(tmp_path, "yolo")[0]).startswith('image-missing: there is no image "images/a"')
    put(tmp_path, {"images/a.png": None})
    assert aside(read(tmp_path, "yolo", Task.VQA)[0]).startswith("other-task")


def test_names_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": None, "a.txt": BOX, "classes.txt": "cat\ndog", "data.yaml": "names: [dog, cat]"})
    with pytest.raises(DataError, match=r'0 is "dog" in data.yaml, and "cat" in classes.txt'):
        read(tmp_path, "yolo")


@pytest.mark.parametrize("text", ["names: [a, *x]", "names: [[a]]", "names: {a: b}", "names: [a", "names: 'a\x00'"])
def test_a_broken_data_yaml_is_said(tmp_path: Path, text: str) -> None:
    put(tmp_path, {"a.png": None, "a.txt": BOX, "data.yaml": text})
    assert aside(read(tmp_path, "yolo")[0]).startswith("annotation-shape: line 1: data.yaml: ")


def test_texts_beside_images_that_are_no_boxes_are_no_yolo(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": None, "a.txt": "a cat sits there"})
    with pytest.raises(DataError):
        reader_for(Source.open(tmp_path.as_uri()), None)
