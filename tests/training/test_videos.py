"""The task video-freeform, from a dataset of small films to the answers: validated, trained, evaluated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from films import RATE, write_film
from training_runs import COLOURS, TINY
from whole_runs import foretold_lengths, reading_of, records_of, run_document, run_whole, trained_lengths

from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

pytestmark = pytest.mark.training

TRAIN, VALIDATION = 9, 3
FRAMES = (24, 17, 40)
"""Lengths of the films; at two frames a second they are shown with 6, 4 and 10 frames."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDirectory]:
    """A dataset of films, validated, resolved, trained and evaluated."""
    folder = tmp_path_factory.mktemp("films")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRTUNE_HOME", str(folder / "home"))
        write_dataset(folder / "data")
        document = run_document("films", folder / "data", "video-freeform", batch_size=3, max_new_tokens=24)
        yield run_whole(document, (folder / "store").as_uri())


def write_dataset(root: Path) -> None:
    (root / "videos").mkdir(parents=True)
    for name, numbers in (("train", range(TRAIN)), ("validation", range(TRAIN, TRAIN + VALIDATION))):
        lines = []
        for number in numbers:
            colour = list(COLOURS)[number % len(COLOURS)]
            frames = FRAMES[number % len(FRAMES)]
            write_film(root / "videos" / f"{number}.mp4", frames=frames, colour=COLOURS[colour], start=number)
            messages = [
                {"role": "user", "content": "<video>What happens?"},
                {"role": "assistant", "content": f"A {colour} square moves."},
            ]
            lines.append({"messages": messages, "videos": [f"videos/{number}.mp4"]})
        (root / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")


def test_every_film_is_a_sample_with_its_length_and_rate(run: RunDirectory) -> None:
    found = records_of(run)
    assert len(found) == TRAIN + VALIDATION
    assert {record.frames for record in found} == set(FRAMES)
    assert {(record.width, record.height, record.frame_rate) for record in found} == {(64, 64, RATE)}
    assert all(record.video and len(record.video_digest or "") == 64 and not record.images for record in found)
    facts = run.read_json(layout.FACTS)
    assert (facts["images"], facts["train_images"], facts["set_aside"]) == (12, TRAIN, 0)


def test_films_are_trained_and_their_tokens_are_known_before_one_is_opened(run: RunDirectory) -> None:
    result = run.read_json(layout.TRAINING_RESULT)
    assert result["samples"] == {"train": TRAIN, "validation": VALIDATION, "set_aside": 0}
    sample = run.read_json(layout.TRAINING_SELFCHECK)["sample"]
    assert sample["tokens"] == sample["tokens_predicted"]
    assert sample["image_tokens"] > 0
    losses = [json.loads(row)["loss"] for row in run.store.read(layout.TRAINING_METRICS).splitlines()]
    assert sum(losses[-3:]) < sum(losses[:3])


def test_the_estimate_has_known_their_tokens(run: RunDirectory) -> None:
    real, expected = sorted(trained_lengths(run)), foretold_lengths(run)
    assert expected["exact"]
    assert (expected["tokens"]["least"], expected["tokens"]["most"]) == (real[0], real[-1])
    assert expected["tokens"]["mean"] == pytest.approx(sum(real) / len(real), abs=0.1)


def test_a_film_is_shown_by_as_many_frames_as_the_processor_says_each_with_its_second(run: RunDirectory) -> None:
    encoder, images, resolved = reading_of(run)
    for record in records_of(run):
        encoded = encoder.encode(resolved.system_prompt, record.prompt, images.load_all(record), record.target)
        [vision] = encoded.vision
        frames = max(4, int(record.frames / RATE * 2))
        assert vision["video_grid_thw"].tolist() == [[frames // 2, 8, 8]]
        text = encoder.processor.tokenizer.decode(encoded.tokens["input_ids"])
        assert text.count(" seconds>") == frames // 2
        assert encoder.prompt_length(resolved.system_prompt, record.prompt, [], images.films(record)) == int(
            encoded.length - len(encoder.target_ids(record.target))
        )


def test_what_a_film_shows_decides_the_prediction(run: RunDirectory) -> None:
    import torch

    from airtune.catalog.registry import entry
    from airtune.modeling.loading import load_model

    encoder, images, resolved = reading_of(run)
    model = load_model(TINY, resolved, entry=entry("qwen3vl"), for_training=False, device=torch.device("cpu"))
    first, other = [record for record in records_of(run) if record.frames == FRAMES[0]][:2]
    with torch.no_grad():
        logits = [
            model(**encoder.collate([encoder.encode("", "What?", images.load_all(each))], padding="right")).logits[
                0, -1
            ]
            for each in (first, other)
        ]
    assert not torch.allclose(*logits)


def test_every_film_is_answered_and_scored(run: RunDirectory) -> None:
    metrics = run.read_json(layout.METRICS)
    assert metrics["samples"] == VALIDATION
    rows = [json.loads(row) for row in run.store.read(layout.PREDICTIONS).splitlines()]
    assert sum(row["model"] == "tuned" for row in rows) == VALIDATION
    assert all(row["tokens"] >= 1 for row in rows)
