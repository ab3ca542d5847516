"""One dataset of boxes, written by hand in every format that has boxes and class names."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

from PIL import Image, ImageDraw

from airtune.datasets.annotations.sentences import sentence_of

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Scene:
    """One image with its boxes in pixels, by class.

    Attributes:
        name: of the image's file.
        boxes: ``xmin, ymin, xmax, ymax`` by class; none for an image that shows nothing.
        size: width and height.
        split: ``train`` or ``val``.
    """

    name: str
    boxes: dict[str, Sequence[Box]]
    size: tuple[int, int] = (64, 48)
    split: str = "train"

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def objects(self) -> list[tuple[str, Box]]:
        return [(name, box) for name, boxes in self.boxes.items() for box in boxes]

    def draw(self, path: Path) -> None:
        """The picture: a rectangle a box, and a ground unlike that of any other name."""
        path.parent.mkdir(parents=True, exist_ok=True)
        ground = tuple(sum(map(ord, self.name[place::3])) * 37 % 256 for place in range(3))
        image = Image.new("RGB", self.size, ground)
        canvas = ImageDraw.Draw(image)
        for name, (left, top, right, bottom) in self.objects:
            canvas.rectangle((left, top, right - 1, bottom - 1), fill=(len(name) * 53 % 256, 90, 200))
        image.save(path)


SCENES: Final = (
    Scene("a.png", {"hot dog": [(2, 3, 30, 20)], "dog": [(31, 5, 60, 40), (1, 22, 20, 47)]}),
    Scene("b.png", {"cat": [(8, 12, 24, 36)]}),
    Scene("c.png", {"cat": [(0, 0, 64, 48)], "dog": [(40, 30, 55, 41)]}, split="val"),
    Scene("d.png", {}),
)
"""Few, with what makes a difference: a class within a class, two boxes of one, a box as large as its image, nothing."""


def classes_of(scenes: Sequence[Scene]) -> list[str]:
    """The names in no order that matters."""
    return list(dict.fromkeys(name for scene in scenes for name in scene.boxes))


def write_vi(root: Path, scenes: Sequence[Scene]) -> None:
    """As a Vi export; images that show nothing are left out, for Vi has no line for them."""
    for scene in scenes:
        folder = root / {"train": "training", "val": "validation"}[scene.split]
        scene.draw(folder / "images" / scene.name)
        if not scene.boxes:
            continue
        width, height = scene.size
        names = tuple(sorted(scene.boxes))
        sentence, phrases = sentence_of(names)
        grounded = [
            {
                "phrase": phrase,
                "startTokenIndex": sentence.index(phrase),
                "endTokenIndex": sentence.index(phrase) + len(phrase),
                "bounds": [[x1 / width, y1 / height, x2 / width, y2 / height] for x1, y1, x2, y2 in scene.boxes[name]],
            }
            for name, phrase in zip(names, phrases, strict=True)
        ]
        line = {
            "id": scene.stem,
            "asset": {"type": "Image", "filename": scene.name, "width": width, "height": height},
            "contents": {"type": "PhraseGrounding", "caption": sentence, "groundedPhrases": grounded},
        }
        _put(folder / "annotations" / f"{scene.stem}.jsonl", json.dumps(line) + "\n")


def write_coco(root: Path, scenes: Sequence[Scene]) -> None:
    """As COCO: one document a split, images in folders of the split's name."""
    names = classes_of(scenes)
    for split in ("train", "val"):
        mine = [scene for scene in scenes if scene.split == split]
        if not mine:
            continue
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, scene in enumerate(mine, start=1):
            scene.draw(root / f"{split}2017" / scene.name)
            width, height = scene.size
            images.append({"id": number, "file_name": scene.name, "width": width, "height": height})
            for name, (x1, y1, x2, y2) in scene.objects:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": names.index(name) + 1,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": (x2 - x1) * (y2 - y1),
                        "iscrowd": 0,
                    }
                )
        categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
        document = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
        _put(root / "annotations" / f"instances_{split}2017.json", json.dumps(document, indent=1) + "\n")


def write_voc(root: Path, scenes: Sequence[Scene]) -> None:
    """As Pascal VOC, with the lists of the splits."""
    for scene in scenes:
        scene.draw(root / "JPEGImages" / scene.name)
        things = "".join(
            f"  <object><name>{escape(name)}</name><difficult>0</difficult>"
            f"<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>\n"
            for name, (x1, y1, x2, y2) in reversed(scene.objects)
        )
        width, height = scene.size
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        text = f"<annotation>\n  <filename>{escape(scene.name)}</filename>\n  {size}\n{things}</annotation>\n"
        _put(root / "Annotations" / f"{scene.stem}.xml", text)
    for split in {scene.split for scene in scenes}:
        stems = [scene.stem for scene in scenes if scene.split == split]
        _put(root / "ImageSets" / "Main" / f"{split}.txt", "\n".join(stems) + "\n")


def write_yolo(root: Path, scenes: Sequence[Scene]) -> None:
    """As YOLO with data.yaml, six decimals."""
    names = classes_of(scenes)
    for scene in scenes:
        scene.draw(root / "images" / scene.split / scene.name)
        width, height = scene.size
        lines = [
            f"{names.index(name)} {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f} "
            f"{(x2 - x1) / width:.6f} {(y2 - y1) / height:.6f}\n"
            for name, (x1, y1, x2, y2) in scene.objects
        ]
        _put(root / "labels" / scene.split / f"{scene.stem}.txt", "".join(lines))
    listed = "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(names))
    _put(root / "data.yaml", f"path: /home/me/data\ntrain: images/train\nval: images/val\nnames:\n{listed}")


def write_csv(root: Path, scenes: Sequence[Scene]) -> None:
    """As CSV with corners and named columns."""
    _csv(root, scenes, ["filename", "xmin", "ymin", "xmax", "ymax", "class"], lambda box: list(box))


def write_csv_sizes(root: Path, scenes: Sequence[Scene]) -> None:
    """As CSV with corner, width and height."""
    columns = ["filename", "x", "y", "width", "height", "class"]
    _csv(root, scenes, columns, lambda box: [box[0], box[1], box[2] - box[0], box[3] - box[1]])


def _csv(root: Path, scenes: Sequence[Scene], columns: list[str], numbers: Callable[[Box], list[float]]) -> None:
    for split in {scene.split for scene in scenes}:
        rows: list[list[Any]] = [columns]
        for scene in scenes:
            if scene.split == split:
                scene.draw(root / "images" / scene.name)
                rows += [[scene.name, *numbers(box), name] for name, box in scene.objects] or [[scene.name, *[""] * 5]]
        path = root / f"{split}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


WRITERS: Final = {
    "vi": write_vi,
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
    "csv": write_csv,
    "csv with sizes": write_csv_sizes,
}
"""By the name of their format."""


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
