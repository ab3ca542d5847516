"""Reading COCO documents: boxes and captions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airtune.datasets.draft import REMEDIES, Draft, Outcome, SetAside
from airtune.datasets.readers.coco import CocoReader
from airtune.datasets.readers.formats import reader_for
from airtune.datasets.sources.source import Source
from airtune.runspec.tasks import Task

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]


class Coco:
    """A COCO dataset under construction."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.reader: CocoReader | None = None

    def images(self, *keys: str) -> None:
        for number, key in enumerate(keys):
            (self.root / key).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 48), (number, 0, 0)).save(self.root / key)

    def write(self, key: str, document: Any) -> None:
        (self.root / key).parent.mkdir(parents=True, exist_ok=True)
        (self.root / key).write_text(document if isinstance(document, str) else json.dumps(document))

    def read(self, task: Task = Task.PHRASE_GROUNDING) -> list[Outcome]:
        self.reader = CocoReader(Source.open(self.root.as_uri()))
        return list(self.reader.read(task))


@pytest.fixture
def coco(tmp_path: Path) -> Coco:
    return Coco(tmp_path / "data")


def document(*annotations: dict[str, Any], **changes: Any) -> dict[str, Any]:
    image = {"id": 1, "file_name": "a.png", "width": 64, "height": 48}
    whole = {"info": {}, "images": [image], "annotations": list(annotations), "categories": CATEGORIES}
    return {**whole, **changes}


def box(image: object = 1, category: object = 3, bbox: object = (8, 12, 16, 24), **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": image, "category_id": category, "bbox": bbox, **more}


def drafts(outcomes: list[Outcome]) -> list[Draft]:
    assert all(isinstance(outcome, Draft) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Draft)]


def test_the_boxes_of_an_image_become_one_sample(coco: Coco) -> None:
    coco.images("images/a.png")
    coco.write("data.json", document(box(category=7), box(bbox=[0, 0, 4, 4]), box(category=7, bbox=[1, 2, 3.5, 4])))
    [draft] = drafts(coco.read())
    assert (draft.images, draft.annotated_size, draft.units) == (("images/a.png",), (64, 48), "pixel")
    assert draft.truth == {
        "sentence": "cat, dog",
        "groundings": [
            {"phrase": "cat", "boxes": [[0, 0, 4, 4]]},
            {"phrase": "dog", "boxes": [[8, 12, 24, 36], [1, 2, 4.5, 6]]},
        ],
    }


@pytest.mark.parametrize(
    ("annotations", "image", "split"),
    [
        ("annotations/instances_train2017.json", "train2017/a.png", "train"),
        ("annotations/instances_val2017.json", "val2017/a.png", "validation"),
        ("valid/_annotations.coco.json", "valid/a.png", "validation"),
        ("annotations/train.json", "images/train/a.png", "train"),
        ("annotations.json", "pictures/a.png", None),
    ],
)
def test_images_and_splits_are_found_where_tools_put_them(
    coco: Coco, annotations: str, image: str, split: str | None
) -> None:
    coco.images(image, "a/train/b.png", "c/val/b.png")
    coco.write(annotations, document(box()))
    assert reader_for(Source.open(coco.root.as_uri()), None)[0] == "coco"
    [draft] = drafts(coco.read())
    assert (draft.images, draft.place.split) == ((image,), split)


def test_an_image_of_the_other_split_is_not_taken_for_one_of_the_same_name(coco: Coco) -> None:
    coco.images("train2017/a.png")
    coco.write("annotations/instances_val2017.json", document(box()))
    [outcome] = coco.read()
    assert isinstance(outcome, SetAside)
    assert outcome.reason == "image-missing"


def test_captions_are_samples_of_their_own(coco: Coco) -> None:
    coco.images("a.png")
    captions = [{"id": n, "image_id": 1, "caption": text} for n, text in enumerate(("A cat.", "One cat", " "))]
    coco.write("captions_train.json", document(*captions, categories=[]))
    first, second, third = coco.read(Task.FREEFORM)
    assert isinstance(first, Draft)
    assert isinstance(second, Draft)
    assert isinstance(third, SetAside)
    assert (first.truth, second.truth, second.place.index) == ({"caption": "A cat."}, {"caption": "One cat"}, 2)
    assert third.reason == "answer-empty"
    [other] = coco.read(Task.PHRASE_GROUNDING)
    assert isinstance(other, SetAside)
    assert other.reason == "other-task"
    assert drafts(coco.read(Task.GENERIC)[:2])[0].truth == {"text": "A cat."}


def test_crowds_and_other_files_are_left_out_and_said(coco: Coco) -> None:
    coco.images("a.png")
    coco.write("data.json", document(box(), box(category=7, iscrowd=1)))
    coco.write("readme.json", "{}")
    [draft] = drafts(coco.read())
    assert draft.truth["sentence"] == "cat"
    assert coco.reader is not None
    notes = " ".join(coco.reader.notes())
    assert "1 boxes around crowds" in notes
    assert "readme.json" in notes


BAD = [
    (document(), "no-object", "no box"),
    (document(box(bbox=[1, 2, 3])), "box-shape", "not [x, y, width, height]: [1, 2, 3]"),
    (document(box(bbox=None)), "box-shape", "null"),
    (document(box(bbox=[1, 2, int("9" * 400), 3])), "box-shape", "too large"),
    (document(box(category=9)), "annotation-shape", "the class 9 is not among"),
    (document(box(category=None)), "annotation-shape", "no category_id"),
    (document({"id": 1, "image_id": 1}), "annotation-shape", "neither bbox nor caption"),
    (document(box(), categories=[{"id": 3, "name": " "}]), "annotation-shape", "empty"),
    (document(box(), categories=[*CATEGORIES, {"id": 3, "name": "cow"}]), "annotation-shape", "several categories"),
    (document(box(), images=[{"id": 1, "file_name": "A.png"}]), "image-missing", 'is "a.png" meant?'),
    (document(box(), images=[{"id": 1}]), "image-not-named", "missing"),
    (document(box(), images=[{"id": 1, "file_name": "a.png", "width": 4}]), "annotation-shape", "height"),
    (document(box(), images=[{"file_name": "a.png"}]), "annotation-shape", "an image without an id"),
    ('{"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{]}', "annotation-malformed", "line 1, column 64"),
]


@pytest.mark.parametrize(("content", "reason", "words"), BAD)
def test_what_is_wrong_is_set_aside_with_its_reason(coco: Coco, content: Any, reason: str, words: str) -> None:
    coco.images("a.png")
    coco.write("data.json", content)
    outcome = coco.read()[0]
    assert isinstance(outcome, SetAside), outcome
    assert outcome.reason == reason
    assert words in outcome.message
    assert reason in REMEDIES


def test_annotations_of_images_that_are_not_listed_and_ids_used_twice_are_counted(coco: Coco) -> None:
    coco.images("a.png", "b.png")
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}, {"id": 2, "file_name": "a.png"}]
    coco.write("data.json", document(box(), box(2), box(5), box(5), {"bbox": [1, 2, 3, 4]}, images=images))
    outcomes = coco.read()
    assert sum(isinstance(outcome, Draft) for outcome in outcomes) == 1
    words = sorted(outcome.message for outcome in outcomes if isinstance(outcome, SetAside))
    assert words[0] == "2 annotations of an image 5 that the file does not list"
    assert words[1].startswith("an annotation without an image_id")
    assert words[2:] == ["the id 2 is that of several images"] * 2


def test_a_file_in_utf_16_is_read(coco: Coco) -> None:
    coco.images("a.png")
    (coco.root / "data.json").write_bytes(json.dumps(document(box()), indent=1).encode("utf-16"))
    assert drafts(coco.read())[0].truth["sentence"] == "cat"


def test_what_was_begun_is_read_from_its_beginning_again_and_once_more_from_the_disk(coco: Coco) -> None:
    coco.images("a.png", "b.png")
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    coco.write("data.json", document(box(), box(2), images=images))
    reader = CocoReader(Source.open(coco.root.as_uri()))
    first = next(iter(reader.read(Task.PHRASE_GROUNDING)))
    assert next(iter(reader.read(Task.VQA))).images == first.images
    assert [outcome.images for outcome in reader.read(Task.PHRASE_GROUNDING)] == [first.images, ("b.png",)]
    coco.write("data.json", document(box(2, bbox=[0, 0, 5, 5]), images=images))
    assert [type(outcome) for outcome in reader.read(Task.PHRASE_GROUNDING)] == [SetAside, Draft]


def test_a_size_of_nothing_says_nothing(coco: Coco) -> None:
    coco.images("a.png")
    image = {"id": 1, "file_name": "a.png", "width": 0, "height": 0}
    coco.write("data.json", document(box(), images=[image]))
    assert drafts(coco.read())[0].annotated_size is None


def test_ids_that_a_table_wrote_as_fractions_are_the_same_ids(coco: Coco) -> None:
    coco.images("a.png")
    coco.write("annotations.json", document(box(image=1.0, category=3.0)))
    [sample] = coco.read()
    assert isinstance(sample, Draft)
    coco.write("annotations.json", document(box(image=1.5)))
    assert all(isinstance(outcome, SetAside) for outcome in coco.read())
