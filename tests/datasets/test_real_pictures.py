"""Real pictures: scikit-learn's handwritten digits and those that scikit-image ships, in three formats each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from detection_formats import WRITERS, Box, Scene
from PIL import Image

from airtune.datasets.check import Asked, Checked, check
from airtune.datasets.conversion import convert
from airtune.datasets.record import Record
from airtune.runspec.tasks import Task

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHEETS = 24
PLACES: tuple[Box, ...] = ((2, 3, 26, 27), (36, 2, 60, 26), (20, 34, 44, 58))


@dataclass(frozen=True)
class Sheet(Scene):
    """Three handwritten digits on a sheet of 64 x 64, with their boxes."""

    cells: Mapping[Box, Any] = field(default_factory=dict)

    def draw(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet = Image.new("L", self.size, 255)
        for (left, top, right, bottom), cell in self.cells.items():
            levels = bytes(255 - round(float(level) * 255 / 16) for row in cell for level in row)
            digit = Image.frombytes("L", (8, 8), levels).resize((int(right - left), int(bottom - top)))
            sheet.paste(digit, (int(left), int(top)))
        sheet.save(path)


def sheets() -> list[Scene]:
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    made: list[Scene] = []
    for number in range(SHEETS):
        boxes: dict[str, list[Box]] = {}
        cells = {}
        for place, box in enumerate(PLACES):
            index = number * len(PLACES) + place
            boxes.setdefault(WORDS[int(digits.target[index])], []).append(box)
            cells[box] = digits.images[index]
        split = "val" if number % 4 == 3 else "train"
        made.append(Sheet(f"{number:02}.png", dict(boxes), (64, 64), split, cells))
    return made


def checked(root: Path, work: Path, task: Task) -> Checked:
    work.mkdir(parents=True)
    return check(Asked(uri=root.as_uri(), task=task, minimum_images=10), work, lambda line: None)


def records_of(found: Checked) -> list[Record]:
    return list(found.assembly.records.rows(range(len(found.assembly.records))))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checked]:
    """The digits in three formats, checked."""
    root = tmp_path_factory.mktemp("digits")
    for name in ("coco", "voc", "yolo"):
        WRITERS[name](root / name, sheets())
    return {name: checked(root / name, root / "work" / name, Task.PHRASE_GROUNDING) for name in ("coco", "voc", "yolo")}


def test_handwritten_digits_are_the_same_dataset_in_three_formats(digits: dict[str, Checked]) -> None:
    for found in digits.values():
        assert found.verdict.passed, found.verdict
        assert (found.facts["samples"], found.facts["set_aside"], found.facts["images"]) == (SHEETS, 0, SHEETS)
        assert found.facts["image_changes"] == {"grey": SHEETS}
    assert len({found.facts["fingerprint"] for found in digits.values()}) == 1
    targets = [{record.digest: record.target for record in records_of(found)} for found in digits.values()]
    assert targets[0] == targets[1] == targets[2]
    first = next(record for record in records_of(digits["yolo"]) if record.images[0].endswith("00.png"))
    # The first three digits of the collection are 0, 1 and 2.
    assert json.loads(first.truth) == {
        "sentence": "one, two, zero",
        "groundings": [
            {"phrase": "one", "boxes": [[576, 32, 960, 416]]},
            {"phrase": "two", "boxes": [[320, 544, 704, 928]]},
            {"phrase": "zero", "boxes": [[32, 48, 416, 432]]},
        ],
    }


@pytest.mark.training
def test_what_was_read_of_them_trains(digits: dict[str, Checked], tmp_path: Path) -> None:
    from training_runs import resolved, train_to_end, training_rows, write_run

    found = digits["yolo"]
    run = resolved(task="phrase-grounding", epochs=2, batch_size=6)
    root = Path(found.images.root_uri.removeprefix("file://"))
    directory = write_run((tmp_path / "store").as_uri(), "digits", run, records_of(found), root)
    result = train_to_end(directory)
    rows = training_rows(directory, "metrics.jsonl")
    assert result["steps"] == len(rows) == 2 * (SHEETS - SHEETS // 4) // 6
    assert rows[-1]["loss"] < rows[0]["loss"]


CAPTIONS = {
    "astronaut.png": "An astronaut smiles in front of a flag.",
    "chelsea.png": "The face of a tabby cat.",
    "coffee.png": "A cup of coffee on a saucer.",
    "camera.png": "A man with a camera on a tripod.",
    "coins.png": "Old coins in rows.",
    "moon.png": "The surface of the moon.",
    "page.png": "A page of a printed book.",
    "rocket.jpg": "A rocket on its launch pad.",
    "horse.png": "The outline of a horse.",
    "brick.png": "A wall of bricks.",
    "grass.png": "Grass from above.",
    "logo.png": "A logo with a snake.",
}


def captioned(root: Path, names: Sequence[str]) -> None:
    """COCO captions of pictures that scikit-image ships: grey, palette, transparent, in PNG and JPEG."""
    skimage = pytest.importorskip("skimage")
    shipped = Path(skimage.__file__).parent / "data"
    (root / "images").mkdir(parents=True)
    images, annotations = [], []
    for number, name in enumerate(names, start=1):
        shutil.copy(shipped / name, root / "images" / name)
        with Image.open(shipped / name) as picture:
            width, height = picture.size
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        annotations.append({"id": number, "image_id": number, "caption": CAPTIONS[name]})
    (root / "captions.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))


def test_shipped_pictures_are_the_same_captions_in_three_formats(tmp_path: Path) -> None:
    captioned(tmp_path / "coco", list(CAPTIONS))
    for name in ("vi", "chat-jsonl"):
        convert((tmp_path / "coco").as_uri(), tmp_path / name, name, task=Task.FREEFORM, tell=lambda line: None)
    found = [checked(tmp_path / name, tmp_path / "work" / name, Task.FREEFORM) for name in ("coco", "vi", "chat-jsonl")]
    assert all(each.verdict.passed for each in found), [each.verdict for each in found]
    assert {each.facts["samples"] for each in found} == {len(CAPTIONS)}
    assert len({each.facts["fingerprint"] for each in found}) == 1
    assert all(each.facts["image_changes"]["grey"] >= 5 for each in found)
    assert all(each.facts["image_changes"]["alpha"] >= 1 for each in found)
