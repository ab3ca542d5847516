"""Makes what both sides train on: a randomly initialised base model, drawn pictures as a Vi dataset, a resolved run.

``python -m training_comparison.material CASE.json FOLDER``; the run goes through airtune's own stages ``validate``
and ``resolve``, so that training reads what it reads in every run.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from training_comparison.case import DATA, RUN_ID, Case
from training_comparison.document import run_document
from training_comparison.models import make_base_model

VALIDATION_PICTURES = 1
"""The stages ask for a validation split. It is taken out again: airtune would score it, and the peer would not."""

SENTENCES = (
    "You look at one picture and answer one question about it.",
    "Look at the whole picture first, then at each part of it, before you decide on an answer.",
    "Name only what can be seen; do not guess what lies behind an object or outside of the frame.",
    "When two objects look alike, tell them apart by their colour, then by their size, then by their place.",
    "Count an object that is cut off by the edge of the picture only if more than half of it can be seen.",
    "Use plain words for colours, such as red, green or blue, and leave shades out unless you are asked for them.",
    "Left and right are always meant as the viewer sees them, not as somebody inside the picture would.",
    "If nothing in the picture fits the question, say so in one word instead of describing something else.",
    "Numbers are written as digits, and lengths are never estimated in metres or inches.",
    "An answer is as short as it can be without becoming wrong, and it never repeats the question.",
    "Do not greet, do not thank, do not apologise and do not explain how you came to the answer.",
    "Quotation marks inside of an answer are written with a backslash, so that the line can be read by a program.",
)
QUESTIONS = (
    "What colour is the object on the left?",
    "Which shape is the largest one in the picture?",
    "How many objects can be seen in this picture?",
    "Is there a circle, and if so, of which colour is it?",
)


def main(case_file: Path, folder: Path) -> None:
    """Makes everything below ``folder``."""
    case = Case.read(case_file)
    folder.mkdir(parents=True)
    processor = make_base_model(case.model, case.seed, folder / "base")
    write_dataset(case, folder / "data")
    make_run(case, folder, system_prompt(processor, case.system_tokens))


def system_prompt(processor: Any, tokens: int) -> str:
    """Neutral text of at least so many tokens: what the platform's own system prompts have."""
    text = ""
    for number in range(10_000):
        if len(processor.tokenizer(text)["input_ids"]) >= tokens:
            break
        text += f"{number + 1}. {SENTENCES[number % len(SENTENCES)]}\n"
    return text


def write_dataset(case: Case, root: Path) -> None:
    """Drawn pictures with questions, or with a located sentence, in the layout of a Vi export."""
    from airtune.datasets.drawn.shapes import draw_scene

    for split, count in (("training", case.pictures), ("validation", VALIDATION_PICTURES)):
        for kind in ("images", "annotations"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            scene = draw_scene(7_000_000 + case.seed + (split == "validation"), index, objects=(1, 3), side=case.side)
            scene.image.save(root / split / "images" / f"{index:05d}.png")
            line = {
                "id": f"{split}-{index}",
                "asset": {"type": "Image", "filename": f"{index:05d}.png", "width": case.side, "height": case.side},
                "contents": _located(scene) if case.task == "phrase-grounding" else _questions(case, scene, index),
            }
            path = root / split / "annotations" / f"{index:05d}.jsonl"
            path.write_text(json.dumps(line) + "\n", encoding="utf-8")


def _questions(case: Case, scene: Any, index: int) -> dict[str, Any]:
    objects = sorted(scene.objects, key=lambda drawn: drawn.box[0])
    circle = next((drawn.colour for drawn in objects if drawn.shape == "circle"), None)
    answers = (
        f"The object on the left is {objects[0].colour}",
        max(objects, key=lambda drawn: drawn.box[2] - drawn.box[0]).shape,
        f"{len(objects)}",
        f"yes, a {circle} circle, beside {len(objects) - 1} other objects" if circle else "no",
    )
    count = DATA[case.data][1]
    chosen = range(4) if count == 4 else [random.Random(f"{case.seed}:{index}").randrange(4)]
    return {
        "type": "Vqa",
        "interactions": [
            {"order": order, "question": QUESTIONS[number], "answer": answers[number]}
            for order, number in enumerate(chosen, start=1)
        ],
    }


def _located(scene: Any) -> dict[str, Any]:
    caption, phrases = "", []
    for drawn in scene.objects:
        caption += " and " if caption else ""
        phrases.append(
            {
                "phrase": f"a {drawn.phrase}",
                "startTokenIndex": len(caption),
                "endTokenIndex": len(caption) + len(f"a {drawn.phrase}"),
                "bounds": [[edge / scene.image.width for edge in drawn.box]],
            }
        )
        caption += f"a {drawn.phrase}"
    return {"type": "PhraseGrounding", "caption": caption, "groundedPhrases": phrases}


def make_run(case: Case, folder: Path, prompt: str) -> None:
    """The run directory, validated and resolved."""
    from airtune.datasets.record import read_records, write_records
    from airtune.datasets.stage import validate
    from airtune.resolution.stage import resolve
    from airtune.stores import layout
    from airtune.stores.run_directory import RunDirectory

    directory = RunDirectory.create((folder / "store").as_uri(), RUN_ID, json.dumps(_document(case, folder, prompt)))
    validate(directory, tell=lambda _: None)
    resolve(directory)
    records = directory.path(layout.RECORDS)
    write_records(records, read_records(records, "train"))
    directory.push(layout.RECORDS)
    resolution = json.loads(directory.store.read(layout.RESOLUTION))
    resolution["facts"]["data"] |= {"fingerprint": None, "evaluation_set_digest": None}  # sealed with a validation
    directory.write_json(layout.RESOLUTION, resolution)


def _document(case: Case, folder: Path, prompt: str) -> dict[str, Any]:
    return run_document(
        task=case.task,
        data=folder / "data",
        base=folder / "base",
        prompt=prompt,
        model=case.model,
        mode=case.mode,
        precision=case.precision,
        quantization=case.quantization,
        knobs={"epochs": case.epochs, "batchSize": case.batch, "gradientAccumulation": 1, "optimizer": "AdamW"},
        own={
            "learningRateSchedule": "constant",
            "warmupRatio": 0.0,
            "weightDecay": 0.0,
            "loraRank": 16,
            "loraAlpha": 32,
            "loraDropout": 0.0,
            "seed": case.seed,
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
