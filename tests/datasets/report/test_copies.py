"""Pictures that a dataset holds more than once, as the page shows them."""

from __future__ import annotations

from itertools import pairwise

from PIL import Image
from tests.datasets.conftest import NewRun, ViFolder, line_of, vqa

from airtune.datasets.stage import validate
from airtune.stores import layout


def picture(seed: int) -> Image.Image:
    """A drawing with shapes of its own: large cells of different grey."""
    cells = bytes((seed * 97 + place * place * 31 + place * seed * 7) % 256 for place in range(36))
    return Image.frombytes("L", (6, 6), cells).resize((96, 96), Image.Resampling.BICUBIC).convert("RGB")


def add(folder: ViFolder, split: str, name: str, image: Image.Image, **options: object) -> None:
    path = folder.root / split / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)  # type: ignore[arg-type]
    folder.annotate(split, f"{name}.json", line_of(name, vqa(("What?", name)), image.size))


def test_copies_stand_side_by_side_leaks_first(folder: ViFolder, new_run: NewRun) -> None:
    for seed in range(1, 31):
        add(folder, "training", f"t{seed}.png", picture(seed))
        add(folder, "validation", f"v{seed}.png", picture(seed + 40))
    add(folder, "training", "again.png", picture(3))
    add(folder, "validation", "leaked.png", picture(5))
    add(folder, "validation", "smaller.jpg", picture(7).resize((72, 72)), quality=85)
    run = new_run(folder.root.as_uri())
    validate(run)
    text = run.store.read(layout.VALIDATION_REPORT).decode()
    exact = text[text.index("The same file under several names") : text.index("Nearly the same picture")]
    near = text[text.index("Nearly the same picture") : text.index('id="distributions"')]
    assert "2 groups, 1 of them on both sides of the split." in exact
    order = [exact.index(words) for words in ("validation/images/leaked.png", "training/images/again.png")]
    assert all(before < after for before, after in pairwise(order))
    assert exact.count("On both sides of the split") == 1
    assert exact.count("data:image/png") == 2  # one picture a content, with all of its names
    assert "training/images/t7.png" in near
    assert "validation/images/smaller.jpg" in near
    assert "72 x 72, JPEG" in near
    assert "On both sides of the split" in near
