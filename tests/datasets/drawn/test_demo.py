"""The data sets to try airtune with: the Vi layout, the same bytes each time, nothing shared between the splits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airtune.datasets.drawn.demo import (
    COLOUR_NAMES,
    SHAPE_NAMES,
    write_demo_dataset,
    write_digits_dataset,
    write_grounding_dataset,
)
from airtune.datasets.drawn.shapes import COLOURS, SHAPES, draw_scene
from airtune.datasets.drawn.strokes import LETTERS, draw_letter


def digests(root: Path) -> dict[str, str]:
    files = (file for file in sorted(root.rglob("*")) if file.is_file())
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def lines(split: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted((split / "annotations").iterdir()) for line in file.open()]


def pixels(split: Path) -> set[bytes]:
    return {Image.open(file).tobytes() for file in (split / "images").iterdir()}


def test_equal_arguments_write_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_demo_dataset(tmp_path / name / "demo", train=6, validation=3, seed=5)
        write_grounding_dataset(tmp_path / name / "grounding", train=6, validation=3, seed=5)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_validation_pictures_do_not_depend_on_the_number_of_training_pictures(tmp_path: Path) -> None:
    for name, train in (("a", 2), ("b", 9)):
        write_demo_dataset(tmp_path / name, train=train, validation=4, seed=1)
    assert digests(tmp_path / "a" / "validation") == digests(tmp_path / "b" / "validation")


def test_each_picture_has_one_annotation_file_with_two_questions(tmp_path: Path) -> None:
    counts = write_demo_dataset(tmp_path, train=12, validation=4)
    assert (counts.training, counts.validation) == (12, 4)
    for split, count in (("training", 12), ("validation", 4)):
        samples = lines(tmp_path / split)
        assert len(samples) == count
        for sample in samples:
            with Image.open(tmp_path / split / "images" / sample["asset"]["filename"]) as image:
                assert image.size == (sample["asset"]["width"], sample["asset"]["height"])
            first, second = sample["contents"]["interactions"]
            assert first["answer"] in SHAPE_NAMES.values()
            assert second["answer"] in COLOUR_NAMES.values()
            assert (first["order"], second["order"]) == (1, 2)


def test_the_splits_share_no_picture(tmp_path: Path) -> None:
    write_demo_dataset(tmp_path, train=60, validation=60)
    assert not pixels(tmp_path / "training") & pixels(tmp_path / "validation")


def test_grounded_phrases_are_where_the_caption_says_and_inside_the_picture(tmp_path: Path) -> None:
    write_grounding_dataset(tmp_path, train=20, validation=0, objects=(1, 2))
    counts = set()
    for sample in lines(tmp_path / "training"):
        caption, phrases = sample["contents"]["caption"], sample["contents"]["groundedPhrases"]
        counts.add(len(phrases))
        for phrase in phrases:
            assert caption[phrase["startTokenIndex"] : phrase["endTokenIndex"]] == phrase["phrase"]
            ((left, top, right, bottom),) = phrase["bounds"]
            assert 0 <= left < right <= 1
            assert 0 <= top < bottom <= 1
    assert counts == {1, 2}


def test_the_digits_are_all_there_and_split_by_their_content(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    counts = write_digits_dataset(tmp_path)
    assert counts.training + counts.validation == 1_797
    assert 0.16 < counts.validation / 1_797 < 0.24
    assert not pixels(tmp_path / "training") & pixels(tmp_path / "validation")
    answers = {sample["contents"]["interactions"][0]["answer"] for sample in lines(tmp_path / "validation")}
    assert answers == set("0123456789")


def test_a_box_holds_exactly_what_was_drawn() -> None:
    for index in range(40):
        scene = draw_scene(3, index)
        left, top, right, bottom = scene.objects[0].box
        paper = scene.image.getpixel((0, 0)) if left > 0 or top > 0 else scene.image.getpixel((63, 63))
        inked = [(x, y) for x in range(64) for y in range(64) if scene.image.getpixel((x, y)) != paper]
        xs, ys = [x for x, _ in inked], [y for _, y in inked]
        found = (min(xs), min(ys), max(xs) + 1, max(ys) + 1)
        assert all(abs(edge - other) <= 1 for edge, other in zip(found, (left, top, right, bottom), strict=True))


def test_objects_of_a_picture_differ_in_colour_and_shape_and_do_not_touch() -> None:
    for index in range(100):
        objects = draw_scene(4, index, objects=3).objects
        assert len({drawn.colour for drawn in objects}) == len({drawn.shape for drawn in objects}) == 3
        for number, a in enumerate(objects):
            for b in objects[:number]:
                apart_in_x = a.box[2] <= b.box[0] or b.box[2] <= a.box[0]
                apart_in_y = a.box[3] <= b.box[1] or b.box[3] <= a.box[1]
                assert apart_in_x or apart_in_y


def test_every_colour_and_shape_is_drawn() -> None:
    objects = [draw_scene(6, index).objects[0] for index in range(300)]
    assert {drawn.colour for drawn in objects} == set(COLOURS)
    assert {drawn.shape for drawn in objects} == set(SHAPES)


def test_more_objects_than_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="one to three"):
        draw_scene(0, 0, objects=4)


@pytest.mark.parametrize("coarse", [True, False])
def test_letters_are_drawn_alike_for_equal_arguments_and_none_is_a_digit(coarse: bool) -> None:
    first, letter = draw_letter(0, 1, coarse=coarse)
    second, _ = draw_letter(0, 1, coarse=coarse)
    assert first.tobytes() == second.tobytes()
    assert letter in LETTERS
    assert not any(name.isdigit() for name in LETTERS)
