"""Reading Pascal VOC."""

from __future__ import annotations

from pathlib import Path

import pytest
from boxes_reading import aside, boxes, drafts, put, read

from airtune.runspec.tasks import Task

CAT = (
    "<object><name>cat</name><bndbox><ymin>2</ymin><xmin>1.5</xmin><xmax>30</xmax><ymax>40</ymax></bndbox>"
    "<part><name>head</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></part></object>"
)


def annotation(*objects: str, filename: str = "a.png", size: str = "64,48") -> str:
    width, height = size.split(",")
    return (
        f"<annotation><filename>{filename}</filename><size><width>{width}</width><height>{height}</height></size>"
        f"{''.join(objects)}</annotation>"
    )


def test_the_objects_of_an_image_become_one_sample_without_their_parts(tmp_path: Path) -> None:
    put(tmp_path, {"images/a.png": None, "labels/a.xml": annotation(CAT, CAT.replace("cat", "hot dog"))})
    [draft] = drafts(read(tmp_path, "voc")[0])
    assert boxes(draft) == {"cat": [[1.5, 2, 30, 40]], "hot dog": [[1.5, 2, 30, 40]]}
    assert (draft.images, draft.annotated_size, draft.units) == (("images/a.png",), (64, 48), "pixel")


@pytest.mark.parametrize(
    ("image", "xml", "filename"),
    [
        ("VOC2007/JPEGImages/a.png", "VOC2007/Annotations/a.xml", "a.png"),
        ("train/a.png", "train/a.xml", "a.png"),
        ("a.png", "a.xml", ""),
        ("images/a.png", "xml/x.xml", "a"),
        ("a.b.png", "x.xml", "a.b"),
        ("pictures/a.png", "x.xml", r"pictures\a.png"),
    ],
)
def test_the_image_is_found_where_tools_put_it(tmp_path: Path, image: str, xml: str, filename: str) -> None:
    put(tmp_path, {image: None, xml: annotation(CAT, filename=filename)})
    assert drafts(read(tmp_path, "voc")[0])[0].images == (image,)


def test_the_lists_of_the_splits_are_followed(tmp_path: Path) -> None:
    stems = {"a": "train", "b": "val", "c": "test", "train_1": None}
    files: dict[str, str | bytes | None] = {f"V/JPEGImages/{stem}.png": None for stem in stems}
    files |= {f"V/Annotations/{stem}.xml": annotation(CAT, filename=f"{stem}.png") for stem in stems}
    lists = {"train": "a\n", "val": "b\n", "test": "c\n", "trainval": "a\nb\n"}
    put(tmp_path, files | {f"V/ImageSets/Main/{name}.txt": text for name, text in lists.items()})
    outcomes, reader = read(tmp_path, "voc")
    assert {Path(draft.images[0]).stem: draft.place.split for draft in drafts(outcomes)} == {
        "a": "train", "b": "validation", "train_1": None
    }  # fmt: skip
    notes = " ".join(reader.notes())
    assert "1 files of a test split are left out" in notes
    assert "1 annotations stand in none of the lists" in notes


def test_without_lists_the_folders_tell_the_split_and_names_of_files_do_not(tmp_path: Path) -> None:
    put(tmp_path, {"x/train_9.png": None, "x/train_9.xml": annotation(CAT, filename="train_9.png")})
    put(tmp_path, {"valid/b.png": None, "valid/b.xml": annotation(CAT, filename="b.png"), "valid/notes.xml": "<a/>"})
    outcomes, reader = read(tmp_path, "voc")
    assert {draft.images[0]: draft.place.split for draft in drafts(outcomes)} == {
        "x/train_9.png": None, "valid/b.png": "validation"
    }  # fmt: skip
    assert "notes.xml" in " ".join(reader.notes())


BAD = [
    (annotation(), "no-object"),
    (annotation(CAT.replace("30", "x")), 'box-shape: xmax is not a number: "x"'),
    (annotation(CAT.replace("<xmin>1.5</xmin>", "")), "box-shape: xmin is not a number: null"),
    (annotation(CAT.replace("bndbox", "robndbox")), 'box-shape: an object "cat" has no bndbox; there is name'),
    (annotation(CAT.replace(">cat<", "> <")), "annotation-shape: the name of a class is empty"),
    (annotation(CAT, size="64,x"), "annotation-shape: 'height' is not a positive whole number"),
    (annotation(CAT, filename="b.png"), "image-missing"),
    (annotation(CAT, filename="../a.png"), "image-outside"),
    (annotation(CAT, filename="http://x/a.png"), "image-url"),
    (annotation(CAT)[:-5], "annotation-malformed: malformed XML in line 1, column"),
    (annotation(CAT).replace("cat", "c&nbsp;t"), "annotation-malformed: malformed XML in line 1"),
    ('<!DOCTYPE a [<!ENTITY x "y">]>' + annotation(CAT), "annotation-malformed: the file declares a document type"),
    (b'<?xml version="1.0" encoding="x-none"?>' + annotation(CAT).encode() + b"\xff", "annotation-malformed"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), BAD)
def test_what_is_wrong_is_set_aside_with_its_reason(tmp_path: Path, text: str | bytes, words: str) -> None:
    put(tmp_path, {"a.png": None, "a.xml": text})
    assert aside(read(tmp_path, "voc")[0]).startswith(words)


def test_another_task_and_no_size_and_another_encoding(tmp_path: Path) -> None:
    text = '<?xml version="1.0" encoding="ISO-8859-1"?>' + annotation(CAT.replace("cat", "Tür"), size="0,0")
    put(tmp_path, {"a.png": None, "a.xml": text.encode("latin-1")})
    [draft] = drafts(read(tmp_path, "voc")[0])
    assert (draft.truth["sentence"], draft.annotated_size) == ("Tür", None)
    assert aside(read(tmp_path, "voc", Task.VQA)[0]).startswith("other-task")
