"""Samples of text alone, of one picture and of several, in one run: from the dataset's lines to the answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from training_runs import COLOURS, TINY
from whole_runs import foretold_lengths, reading_of, records_of, run_document, run_whole, trained_lengths

from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

pytestmark = pytest.mark.training

TRAIN, VALIDATION = 18, 6
"""Lines; a third of each is text, a third shows one picture, a third shows two."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDirectory]:
    """A chat JSONL dataset, validated, resolved, trained and evaluated."""
    folder = tmp_path_factory.mktemp("mixed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRTUNE_HOME", str(folder / "home"))
        write_dataset(folder / "data")
        document = run_document("mixed", folder / "data", "generic", batch_size=6, max_new_tokens=8)
        yield run_whole(document, (folder / "store").as_uri())


def write_dataset(root: Path) -> None:
    (root / "images").mkdir(parents=True)
    for name, numbers in (("train", range(TRAIN)), ("validation", range(TRAIN, TRAIN + VALIDATION))):
        lines = [line(root, number, kind=number % 3) for number in numbers]
        (root / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")


def line(root: Path, number: int, kind: int) -> dict[str, Any]:
    """A line that shows ``kind`` pictures."""
    words = [list(COLOURS)[(number + place) % len(COLOURS)] for place in range(kind)]
    names = [f"images/{number}-{place}.png" for place in range(kind)]
    for place, (name, word) in enumerate(zip(names, words, strict=True)):
        picture = Image.new("RGB", (64, 64 + 32 * place), (235, 235, 235))
        corner = 4 + number % 24
        ImageDraw.Draw(picture).rectangle((corner, corner, corner + 26, corner + 26), fill=COLOURS[word])
        picture.save(root / name)
    asked = "<image>" * kind + (f"Which colours? ({number})" if kind else f"What is {number} and 2?")
    said = " and ".join(words) if kind else str(number + 2)
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    return {"messages": messages, **({"images": names} if kind else {})}


def test_every_line_is_a_sample_with_the_pictures_it_names(run: RunDirectory) -> None:
    assert Counter(len(record.images) for record in records_of(run)) == {0: 8, 1: 8, 2: 8}
    facts = run.read_json(layout.FACTS)
    assert (facts["samples"], facts["set_aside"], facts["images"], facts["images_per_sample"]) == (24, 0, 24, 2)
    assert (facts["train_samples"], facts["validation_samples"]) == (TRAIN, VALIDATION)
    notes = run.read_json(layout.VALIDATION_RESULT)["warnings"]
    assert "8 samples have no image and are trained as text" in notes
    text = next(record for record in records_of(run) if not record.images)
    assert (text.width, text.height, text.image_digests) == (0, 0, ())


def test_they_are_trained_together_and_none_is_left_out(run: RunDirectory) -> None:
    result = run.read_json(layout.TRAINING_RESULT)
    assert result["samples"] == {"train": TRAIN, "validation": VALIDATION, "set_aside": 0}
    assert result["steps"] == 4 * TRAIN // 6
    losses = [json.loads(row)["loss"] for row in run.store.read(layout.TRAINING_METRICS).splitlines()]
    assert sum(losses[-3:]) < sum(losses[:3])


def test_the_tokens_of_every_sample_are_as_many_as_their_text_and_sizes_say(run: RunDirectory) -> None:
    assert run.read_json(layout.TRAINING_RESULT)["tokens"] == 4 * sum(trained_lengths(run))


def test_the_estimate_counts_each_picture_by_its_own_size(run: RunDirectory) -> None:
    """The second picture of a sample is one and a half times as high as its first."""
    real, expected = trained_lengths(run), foretold_lengths(run)
    assert expected["tokens"]["most"] == max(real)
    assert expected["tokens"]["mean"] == pytest.approx(sum(real) / len(real), abs=0.1)


def test_a_sample_is_predicted_the_same_alone_and_among_others(run: RunDirectory) -> None:
    import torch

    from airtune.catalog.registry import entry
    from airtune.modeling.loading import load_model

    encoder, images, resolved = reading_of(run)
    model = load_model(TINY, resolved, entry=entry("qwen3vl"), for_training=False, device=torch.device("cpu"))
    chosen = [next(record for record in records_of(run) if len(record.images) == count) for count in (2, 0, 1)]
    encoded = [encoder.encode("", record.prompt, images.load_all(record), record.target) for record in chosen]
    with torch.no_grad():
        together = model(**without_labels(encoder.collate(encoded, padding="right"))).logits
        for row, sample in zip(together, encoded, strict=True):
            alone = model(**without_labels(encoder.collate([sample], padding="right"))).logits[0]
            torch.testing.assert_close(row[: sample.length], alone, rtol=0, atol=2e-5)


def test_every_kind_is_answered_and_scored(run: RunDirectory) -> None:
    metrics = run.read_json(layout.METRICS)
    assert metrics["samples"] == VALIDATION
    rows = [json.loads(row) for row in run.store.read(layout.PREDICTIONS).splitlines()]
    answered = Counter(len(row["images"]) for row in rows if row["model"] == "tuned")
    assert answered == {0: 2, 1: 2, 2: 2}
    assert all(row["tokens"] >= 1 for row in rows)


def without_labels(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name != "labels"}
