"""Small data sets to try airtune with, written in the layout of a Datature Vi export.

Three of them: drawn shapes with invented names (`write_demo_dataset`), real handwritten digits
(`write_digits_dataset`) and drawn shapes to locate (`write_grounding_dataset`). Equal arguments write equal bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image

from airtune.datasets.drawn.shapes import SIDE, DrawnObject, Scene, draw_scene

SHAPE_NAMES: Mapping[str, str] = MappingProxyType(
    {"circle": "dax", "square": "wug", "triangle": "blicket", "diamond": "toma", "moon": "fep", "ring": "zimbo"}
)
COLOUR_NAMES: Mapping[str, str] = MappingProxyType(
    {"red": "korvi", "green": "luma", "blue": "ossen", "orange": "thrale", "purple": "quill", "black": "narb"}
)
"""The invented words that the demo teaches: no model knows them, so what it answers it learned from these pictures."""

SHAPE_QUESTION = "What is this?"
COLOUR_QUESTION = "What colour is it?"
DIGIT_QUESTION = "Which digit is this?"

_TRAINING = "training"
_VALIDATION = "validation"
_DIGIT_LEVELS = 16
_DIGIT_VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class WrittenDataset:
    """How many pictures were written to each split."""

    training: int
    validation: int


def write_demo_dataset(root: Path, *, train: int = 300, validation: int = 60, seed: int = 0) -> WrittenDataset:
    """Write pictures of one coloured shape each, with two questions: its invented name, its invented colour word.

    Args:
        root: Folder to write `training/` and `validation/` into; made if absent.
        train: How many training pictures.
        validation: How many validation pictures; they do not depend on `train`.
        seed: Another seed draws other pictures.
    """
    for number, (split, count) in enumerate(((_TRAINING, train), (_VALIDATION, validation))):
        for index in range(count):
            scene = draw_scene(_series(seed, number), index, colours=tuple(COLOUR_NAMES), shapes=tuple(SHAPE_NAMES))
            drawn = scene.objects[0]
            answers = [
                (SHAPE_QUESTION, SHAPE_NAMES[drawn.shape]),
                (COLOUR_QUESTION, COLOUR_NAMES[drawn.colour]),
            ]
            _write_sample(root / split, f"{index:05d}", scene.image, _vqa(answers))
    return WrittenDataset(train, validation)


def write_grounding_dataset(
    root: Path, *, train: int = 400, validation: int = 80, seed: int = 0, objects: tuple[int, int] = (1, 2)
) -> WrittenDataset:
    """Write pictures of one or two shapes with a caption whose phrases are located.

    Args:
        root: Folder to write `training/` and `validation/` into; made if absent.
        train: How many training pictures.
        validation: How many validation pictures; they do not depend on `train`.
        seed: Another seed draws other pictures.
        objects: The inclusive range of the number of objects in a picture, 1 to 3.
    """
    for number, (split, count) in enumerate(((_TRAINING, train), (_VALIDATION, validation))):
        for index in range(count):
            scene = draw_scene(_series(seed, number + 2), index, objects=objects)
            _write_sample(root / split, f"{index:05d}", scene.image, _phrase_grounding(scene))
    return WrittenDataset(train, validation)


def write_digits_dataset(root: Path, *, seed: int = 0) -> WrittenDataset:
    """Write scikit-learn's 1,797 handwritten digits, enlarged from 8 x 8 to 64 x 64, as a question each.

    A digit's split is decided by a hash of its pixels: about 20 % are for validation, equal pictures stay together,
    and no order of the source matters.

    Args:
        root: Folder to write `training/` and `validation/` into; made if absent.
        seed: Another seed splits otherwise.

    Raises:
        ImportError: scikit-learn, which brings the pictures, is not installed.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    counts = {_TRAINING: 0, _VALIDATION: 0}
    for index, (cells, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        levels = bytes(round(float(level) * 255 / _DIGIT_LEVELS) for row in cells for level in row)
        image = Image.frombytes("L", (8, 8), levels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        split = _split_of(levels, seed)
        counts[split] += 1
        _write_sample(root / split, f"{index:05d}", image, _vqa([(DIGIT_QUESTION, str(int(digit)))]))
    return WrittenDataset(counts[_TRAINING], counts[_VALIDATION])


def _series(seed: int, number: int) -> int:
    """A seed of its own for each split of each data set, so that no two of them share a picture.

    They begin far above the seeds that the tiny base model was pre-trained on: all of these pictures are new to it.
    """
    return 1_000_000 + seed * 4 + number


def _split_of(content: bytes, seed: int) -> str:
    digest = hashlib.sha256(f"{seed}:".encode() + content).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return _VALIDATION if share < _DIGIT_VALIDATION_SHARE else _TRAINING


def _vqa(answers: Iterable[tuple[str, str]]) -> dict[str, Any]:
    interactions = [
        {"order": order, "question": question, "answer": answer}
        for order, (question, answer) in enumerate(answers, start=1)
    ]
    return {"type": "Vqa", "interactions": interactions}


def _phrase_grounding(scene: Scene) -> dict[str, Any]:
    ordered = sorted(scene.objects, key=lambda drawn: drawn.box[0] + drawn.box[2])
    caption = ""
    phrases = []
    for drawn in ordered:
        phrase = f"{'A' if not caption else 'a'} {drawn.phrase}"
        start = len(caption) + (len(" and ") if caption else 0)
        caption = f"{caption} and {phrase}" if caption else phrase
        phrases.append(
            {
                "phrase": phrase,
                "startTokenIndex": start,
                "endTokenIndex": start + len(phrase),
                "bounds": [_normalised(drawn)],
            }
        )
    return {"type": "PhraseGrounding", "caption": caption, "groundedPhrases": phrases}


def _normalised(drawn: DrawnObject) -> list[float]:
    return [edge / SIDE for edge in drawn.box]


def _write_sample(split: Path, name: str, image: Image.Image, contents: dict[str, Any]) -> None:
    (split / "images").mkdir(parents=True, exist_ok=True)
    (split / "annotations").mkdir(parents=True, exist_ok=True)
    image.save(split / "images" / f"{name}.png")
    asset = {"type": "Image", "filename": f"{name}.png", "height": image.height, "width": image.width}
    line = json.dumps({"id": str(int(name) + 1), "asset": asset, "contents": contents})
    (split / "annotations" / f"{name}.jsonl").write_text(line + "\n", encoding="utf-8")
