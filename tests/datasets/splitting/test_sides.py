"""Images that are nearly the same stay on one side, as far as that leaves a split; what leaks is said."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tests.datasets.conftest import NewRun, ViFolder, vqa

from airtune.datasets.pictures.duplicates import near_duplicates_of
from airtune.datasets.pictures.images import Images
from airtune.datasets.pictures.inspection import ImageFacts, inspect
from airtune.datasets.splitting.sides import Sides, sides_of
from airtune.datasets.stage import validate
from airtune.stores import layout


def scene(number: int, *, shade: int = 0) -> Image.Image:
    """Smooth blobs, unlike those of any other number; `shade` makes all of it a little brighter."""
    generator = np.random.default_rng(number)
    small = Image.fromarray(generator.integers(0, 255 - 12, (6, 6, 3), dtype=np.uint8), "RGB")
    return small.resize((96, 96), Image.Resampling.BICUBIC).point(lambda value: value + shade)


def looked_at(folder: Path, pictures: list[Image.Image]) -> list[ImageFacts]:
    for index, picture in enumerate(pictures):
        picture.save(folder / f"{index:04}.png")
    keys = [f"{index:04}.png" for index in range(len(pictures))]
    found = inspect(Images(folder.as_uri()), keys)
    return [facts for key in keys if isinstance(facts := found[key], ImageFacts)]


def split(facts: list[ImageFacts], ratio: float = 0.2) -> Sides:
    truths = pa.array(['{"caption": "x"}'] * len(facts))
    batch = pa.record_batch({"group": pa.array([each.digest for each in facts]), "truth": truths})
    return sides_of(
        [[each.digest] for each in facts], lambda: [batch], images={each.digest: each for each in facts},
        alike=near_duplicates_of(facts), delivered={None}, ratio=ratio,
    )  # fmt: skip


def test_pictures_that_are_nearly_the_same_stay_on_one_side(tmp_path: Path) -> None:
    shades = (0, 3, 6)
    facts = looked_at(tmp_path, [scene(number, shade=shade) for number in range(40) for shade in shades])
    sides = split(facts)
    assert sides.of_groups is not None
    for start in range(0, len(facts), len(shades)):
        assert len({sides.groups[each.digest] for each in facts[start : start + len(shades)]}) == 1
    assert len(set(sides.groups.values())) == 40
    assert sides.rule.alike == 120
    assert "120 images stay with others that are nearly the same" in str(sides.rule)


def test_one_scene_before_one_camera_is_split_all_the_same(tmp_path: Path) -> None:
    generator = np.random.default_rng(9)
    base = scene(1)
    pictures = []
    for _ in range(60):  # the same place, a thing of two pixels moving through it
        picture = base.copy()
        x, y = generator.integers(0, 94, 2).tolist()
        picture.paste((255, 255, 255), (x, y, x + 2, y + 2))
        pictures.append(picture)
    sides = split(looked_at(tmp_path, pictures))
    assert sides.of_groups is not None
    assert sides.rule.loose > 30
    judged = sum(sides.of_groups[sides.groups[digest]] == "validation" for digest in sides.groups)
    assert 6 <= judged <= 24
    assert "too much alike" in str(sides.rule)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_copies_in_both_delivered_splits_are_named_and_used_as_they_are(
    folder: ViFolder, new_run: NewRun, suffix: str
) -> None:
    for index in range(25):
        folder.sample("training", f"t{index}", vqa(("What?", f"a{index % 3}")), size=(96, 96))
        scene(index).save(folder.root / f"training/images/t{index}.png")
    for index in range(6):
        folder.sample("validation", f"v{index}", vqa(("What?", "a1")), size=(96, 96))
        scene(100 + index).save(folder.root / f"validation/images/v{index}.png")
    copy = io.BytesIO()
    scene(7).save(copy, suffix.replace("jpg", "jpeg"))
    (folder.root / "validation/images/v3.png").write_bytes(copy.getvalue())
    run = new_run(folder.root.as_uri())
    validate(run)
    result = run.read_json(layout.VALIDATION_RESULT)
    kind = "exact" if suffix == "png" else "near"
    assert {name: result["leaks"][name] for name in ("exact", "near")} == {"exact": 0, "near": 0} | {kind: 1}
    (leak,) = result["leaks"]["first"]
    assert leak["kind"] == kind
    assert [leak["train"], leak["validation"]] == [["training/images/t7.png"], ["validation/images/v3.png"]]
    assert any("training/images/t7.png (train) = validation/images/v3.png" in line for line in result["warnings"])
    assert run.read_json(layout.FACTS)["samples"] == 31
