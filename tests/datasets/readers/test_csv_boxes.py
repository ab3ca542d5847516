"""Reading CSV files of boxes."""

from __future__ import annotations

from pathlib import Path

import pytest
from boxes_reading import aside, boxes, drafts, put, read

from airtune.datasets.readers.formats import reader_for
from airtune.datasets.sources.source import Source
from airtune.errors import DataError
from airtune.runspec.tasks import Task

HEADER = "filename,xmin,ymin,xmax,ymax,class\n"

FORMS = [
    HEADER + "a.png,1,2,30,40,cat\n",
    "filename,x,y,width,height,class\na.png,1,2,29,38,cat\n",
    "\ufefffilename;xmin;ymin;xmax;ymax;class\r\na.png;1;2;30;40;cat\r\n",
    "class\tx1\ty1\tx2\ty2\timage_path\ncat\t1\t2\t30\t40\ta.png",
    "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,64,48,cat,1,2,30,40\n",
    'Label,X Min,Y Min,X Max,Y Max,File Name\n"cat",1,2,30,40,"a.png"\n\n , , , , ,\n',
    "a.png,1,2,30,40,cat\n",
    "a.png,1,2,30,40,cat\nb.png,30,20,1,2,cat\n",
]


@pytest.mark.parametrize("text", FORMS[:-1])
def test_both_forms_are_read_with_and_without_named_columns(tmp_path: Path, text: str) -> None:
    put(tmp_path, {"images/a.png": None, "boxes.csv": text})
    outcomes, reader = read(tmp_path, "csv")
    [draft] = drafts(outcomes)
    assert (boxes(draft), draft.images, draft.units) == ({"cat": [[1, 2, 30, 40]]}, ("images/a.png",), "pixel")
    guessed = text.startswith("a.png")
    assert ("read as corners" in " ".join(reader.notes())) is guessed
    assert draft.annotated_size == ((64, 48) if "width,height,class" in text and "xmin" in text else None)


def test_without_names_one_box_that_can_be_no_corners_tells_the_form(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": None, "b.png": None, "boxes.csv": FORMS[-1]})
    outcomes, reader = read(tmp_path, "csv")
    assert [boxes(draft)["cat"] for draft in drafts(outcomes)] == [[[1, 2, 31, 42]], [[30, 20, 31, 22]]]
    assert "read as a corner, width and height" in reader.notes()[0]


def test_boxes_of_an_image_are_one_sample_wherever_they_stand(tmp_path: Path) -> None:
    rows = "a.png,1,2,30,40,cat\nb.png,1,2,30,40,dog\na.png,3,4,5,6,dog\na.png,7,8,9,10,cat\n"
    put(tmp_path, {"a.png": None, "b.png": None, "boxes.csv": HEADER + rows})
    first, second = drafts(read(tmp_path, "csv")[0])
    assert boxes(first) == {"cat": [[1, 2, 30, 40], [7, 8, 9, 10]], "dog": [[3, 4, 5, 6]]}
    assert (first.place.line, second.place.line) == (2, 3)


def test_numbers_up_to_one_are_fractions_and_a_few_in_pixels_among_them_do_not_change_that(tmp_path: Path) -> None:
    rows = "a.png,0.1,0.2,0.5,0.9,cat\nb.png,0,0,1,1,cat\na.png,10,20,30,40,dog\n"
    put(tmp_path, {"a.png": None, "b.png": None, "boxes.csv": HEADER + rows})
    assert {draft.units for draft in drafts(read(tmp_path, "csv")[0])} == {"fraction"}


def test_a_box_of_one_pixel_that_is_not_the_first_is_in_pixels(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": None, "boxes.csv": "filename,x,y,width,height,class\na.png,0,1,1,1,cat\n"})
    assert drafts(read(tmp_path, "csv")[0])[0].units == "pixel"


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        ({"train.csv": HEADER + "a.png,1,2,3,4,x", "val.csv": HEADER + "b.png,1,2,3,4,x"}, ["train", "validation"]),
        ({"x.csv": "split," + HEADER + "train,a.png,1,2,3,4,x\ntest,b.png,1,2,3,4,x"}, ["train", "validation"]),
        ({"x.csv": HEADER + "a.png,1,2,3,4,x\nb.png,1,2,3,4,x"}, [None, None]),
    ],
)
def test_the_split_is_that_of_the_file_or_of_its_column(
    tmp_path: Path, files: dict[str, str], splits: list[str | None]
) -> None:
    put(tmp_path, {"a.png": None, "b.png": None, **files})
    assert [draft.place.split for draft in drafts(read(tmp_path, "csv")[0])] == splits


BAD = [
    ("a.png,,,,,\n", "no-object"),
    ("a.png,1,2,3,cat\n", "annotation-shape: line 2: 5 columns instead of 6"),
    ("a.png,1,2,x,4,cat\n", "annotation-shape: line 2: not four numbers"),
    ("a.png,1_0,2,3,4,cat\n", "annotation-shape: line 2: not four numbers"),
    ("a.png,1,2,3,4,\n", "annotation-shape: the name of a class is empty"),
    (",1,2,3,4,cat\n", "image-not-named"),
    ("b.png,1,2,3,4,cat\n", "image-missing"),
    ("/a.png,1,2,3,4,cat\n", "image-outside"),
    ('a.png,1,2,3,4,"cat\n', "annotation-malformed: malformed CSV in line 2: unexpected end of data"),
    (b"a.png,1,2,3,4,c\xe4t\n", "annotation-malformed: not UTF-8: byte 16 of line 2"),
]


@pytest.mark.parametrize(("row", "words"), BAD)
def test_what_is_wrong_is_set_aside_with_its_reason(tmp_path: Path, row: str | bytes, words: str) -> None:
    text = HEADER.encode() + (row if isinstance(row, bytes) else row.encode())
    put(tmp_path, {"a.png": None, "boxes.csv": text})
    assert aside(read(tmp_path, "csv")[0]).startswith(words)


def test_a_broken_line_costs_its_image_and_no_other(tmp_path: Path) -> None:
    rows = 'a.png,1,2,3,4,"cat\nb.png,1,2,3,4,cat\na.png,1,2,3,4,cat\n'
    put(tmp_path, {"a.png": None, "b.png": None, "boxes.csv": HEADER + rows})
    first, second = read(tmp_path, "csv")[0]
    assert aside([first]).startswith("annotation-malformed")
    assert drafts([second])[0].images == ("b.png",)


def test_images_may_be_named_without_their_suffix(tmp_path: Path) -> None:
    put(tmp_path, {"images/a.b.png": None, "x.csv": "ImageID,LabelName,XMin,XMax,YMin,YMax\na.b,cat,0.1,0.5,0.2,0.6\n"})
    [draft] = drafts(read(tmp_path, "csv")[0])
    assert (draft.images, boxes(draft)) == (("images/a.b.png",), {"cat": [[0.1, 0.2, 0.5, 0.6]]})


def test_other_tables_are_passed_over_or_no_dataset(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": None, "x.csv": "name,age\nx,1\n"})
    with pytest.raises(DataError):
        reader_for(Source.open(tmp_path.as_uri()), None)
    put(tmp_path, {"boxes.csv": HEADER + "a.png,1,2,3,4,x\n"})
    outcomes, reader = read(tmp_path, "csv", Task.FREEFORM)
    assert aside(outcomes).startswith("other-task")
    assert "x.csv" in reader.notes()[0]
