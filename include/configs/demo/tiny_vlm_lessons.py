"""What the tiny base model reads and is asked while it is made: questions, answers, prompts, the tokenizer's text.

Answers are plain words. None of the JSON formats that airtune trains on is ever an answer here, so that what a demo
run learns is really learned in that run; their characters are in the tokenizer's text alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image

from airtune.datasets.drawn.shapes import COLOURS, SHAPES, SIDE, DrawnObject, Scene, draw_scene
from airtune.datasets.drawn.strokes import draw_letter

COORDINATES = 1024
"""Places are told as whole numbers from 0 to this, per axis, as airtune's grounding targets are."""

SPELLING_OPENINGS = ("Repeat: ", "Say this: ", "Copy the text. ", "Write: ")
COUNT_WORDS = {1: "one", 2: "two", 3: "three"}


@dataclass(frozen=True)
class Turn:
    """One question and its answer; `subject` groups the turns for the accuracy table."""

    subject: str
    question: str
    answer: str


@dataclass(frozen=True)
class Lesson:
    """A picture, the turns about it, and the objects of a scene (none for a letter)."""

    image: Image.Image
    turns: tuple[Turn, ...]
    objects: tuple[DrawnObject, ...]
    letter: str | None


def draw_lesson(seed: int, index: int, turns: int) -> Lesson:
    """Draw a picture and ask `turns` different things about it."""
    rng = random.Random(f"lesson:{seed}:{index}")  # noqa: S311 - pictures, not secrets
    if rng.random() < 0.3:
        image, letter = draw_letter(seed, index, coarse=rng.random() < 0.6)
        return Lesson(image, (_ask_letter(rng, letter),), (), letter)
    scene = draw_scene(seed, index, objects=_object_count(rng), outlined_share=0.25, dark_share=0.12)
    askers = _ONE_OBJECT if len(scene.objects) == 1 else _SEVERAL_OBJECTS
    chosen = rng.sample(askers, min(turns, len(askers)))
    return Lesson(scene.image, tuple(ask(rng, scene) for ask in chosen), scene.objects, None)


def _object_count(rng: random.Random) -> int:
    return rng.choices((1, 2, 3), (0.62, 0.28, 0.10))[0]


def spelling(rng: random.Random, token_ids: list[int]) -> tuple[str, list[int]]:
    """A question and the token ids to repeat: any token may be part of an answer, those of new words too."""
    return rng.choice(SPELLING_OPENINGS), [rng.choice(token_ids) for _ in range(rng.randint(1, 8))]


def coordinates(box: tuple[int, int, int, int]) -> str:
    """A box in pixels as four comma-separated numbers out of `COORDINATES`."""
    return ",".join(str(round(edge * COORDINATES / SIDE)) for edge in box)


def place_word(box: tuple[int, int, int, int]) -> str:
    """Which ninth of the picture the middle of the box is in, in words."""
    column = ("left", "", "right")[min(2, int((box[0] + box[2]) / 2 / SIDE * 3))]
    row = ("top", "", "bottom")[min(2, int((box[1] + box[3]) / 2 / SIDE * 3))]
    return " ".join(word for word in (row, column) if word) or "centre"


def _ask_letter(rng: random.Random, letter: str) -> Turn:
    question = rng.choice(
        (
            "Which letter is this?",
            "What is written here?",
            "Read the sign.",
            "Which character is this?",
            "What is this?",
        )
    )
    return Turn("letter", question, letter)


def _ask_shape(rng: random.Random, scene: Scene) -> Turn:
    questions = ("What is this?", "What shape is this?", "Which shape is it?", "What is the object?", "Name the shape.")
    return Turn("shape", rng.choice(questions), scene.objects[0].shape)


def _ask_colour(rng: random.Random, scene: Scene) -> Turn:
    questions = ("What colour is it?", "Which colour is this?", "What colour?", "Name the colour.", "What color is it?")
    return Turn("colour", rng.choice(questions), scene.objects[0].colour)


def _ask_size(rng: random.Random, scene: Scene) -> Turn:
    return Turn("size", rng.choice(("Is it small or large?", "How large is it?", "What size?")), scene.objects[0].size)


def _ask_outline(rng: random.Random, scene: Scene) -> Turn:
    answer = "an outline" if scene.objects[0].outlined or scene.objects[0].shape == "ring" else "filled"
    return Turn("outline", rng.choice(("Is it filled?", "Filled or an outline?")), answer)


def _ask_where(rng: random.Random, scene: Scene) -> Turn:
    drawn = rng.choice(scene.objects)
    question = rng.choice((f"Where is the {drawn.phrase}?", f"Where do you see the {drawn.shape}?"))
    return Turn("where", question, place_word(drawn.box))


def _ask_box(rng: random.Random, scene: Scene) -> Turn:
    drawn = rng.choice(scene.objects)
    question = rng.choice((f"Locate the {drawn.phrase}.", f"Give the box of the {drawn.phrase}."))
    return Turn("locate", question, coordinates(drawn.box))


def _ask_described_box(rng: random.Random, scene: Scene) -> Turn:
    question = rng.choice(("Name and locate each object.", "What is where?", "Find the objects."))
    told = "; ".join(f"{drawn.phrase} {coordinates(drawn.box)}" for drawn in _in_reading_order(scene))
    return Turn("find", question, told)


def _ask_caption(rng: random.Random, scene: Scene) -> Turn:
    question = rng.choice(("Describe the image.", "What do you see?", "Write a caption.", "Caption this picture."))
    phrases = [f"a {drawn.phrase}" for drawn in _in_reading_order(scene)]
    listed = phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]
    return Turn("caption", question, f"{listed[0].upper()}{listed[1:]}.")


def _ask_count(rng: random.Random, scene: Scene) -> Turn:
    question = rng.choice(("How many objects are there?", "How many shapes do you see?", "Count the objects."))
    return Turn("count", question, COUNT_WORDS[len(scene.objects)])


def _ask_colour_of(rng: random.Random, scene: Scene) -> Turn:
    drawn = rng.choice(scene.objects)
    question = rng.choice((f"What colour is the {drawn.shape}?", f"Which colour has the {drawn.shape}?"))
    return Turn("colour of one", question, drawn.colour)


def _ask_shape_of(rng: random.Random, scene: Scene) -> Turn:
    drawn = rng.choice(scene.objects)
    question = rng.choice((f"What is {drawn.colour}?", f"Which shape is {drawn.colour}?"))
    return Turn("shape of one", question, drawn.shape)


def _in_reading_order(scene: Scene) -> list[DrawnObject]:
    """From left to right: an order that the picture shows, so that a model can learn it."""
    return sorted(scene.objects, key=lambda drawn: drawn.box[0] + drawn.box[2])


_Asker = Callable[[random.Random, Scene], Turn]
_ONE_OBJECT: tuple[_Asker, ...] = (
    _ask_shape,
    _ask_colour,
    _ask_shape,
    _ask_colour,
    _ask_size,
    _ask_outline,
    _ask_where,
    _ask_box,
    _ask_described_box,
    _ask_caption,
    _ask_count,
)
_SEVERAL_OBJECTS: tuple[_Asker, ...] = (
    _ask_colour_of,
    _ask_shape_of,
    _ask_where,
    _ask_box,
    _ask_described_box,
    _ask_caption,
    _ask_count,
)

_OPENINGS = (
    "You answer questions about an image.",
    "You are a helpful assistant.",
    "You look at pictures and say what is in them.",
    "Answer questions about the image.",
    "You are a vision assistant for an industrial inspection line.",
    "You describe images for a catalogue of parts.",
    "The user sends one image and one question.",
    "You find objects in images.",
)
_RULES = (
    "Answer in one word.",
    "Keep the answer short.",
    "Do not explain your reasoning.",
    "If you are not sure, give the most likely answer.",
    "Answer from what is visible only.",
    "Write nothing before or after the answer.",
    "Use the words of the question where you can.",
    "Positions are given from the top left corner of the picture.",
    "Every number is a whole number between 0 and 1024.",
    "Be precise about colours, shapes and positions.",
    "Do not invent objects that are not there.",
    "Each phrase must be copied from the sentence, word by word.",
    "Numbers are written with digits.",
    "The answer is read by a program, so follow the format exactly.",
)
_FORMAT_RULES = (
    "Reply with one line of minified JSON and nothing else.",
    "The reply must be valid JSON on one line, without code fences.",
    "Strings must not contain quotes, backslashes, tabs or line breaks.",
    "The key is vqa and its value is an object with the key answer.",
    "The key phrase_grounding holds the sentence and a list of groundings.",
    "Each grounding has a phrase and a list of boxes [xmin, ymin, xmax, ymax].",
    "The key freeform holds an object with the key caption.",
    "Think step by step inside <think> and </think>, then write the result inside <answer> and </answer>.",
    "All coordinates are normalised to the range 0 to 1024 on each axis, with xmin less than xmax.",
    "If there is no such object, return an empty list.",
)
_GENERAL_TEXT = (
    (
        "You are an expert at looking at images and answering questions about what they show. Your task is to read the "
        "question carefully, look at the whole image, and return the answer in the required format."
    ),
    (
        "Follow these instructions exactly: examine the image before you answer; consider the size, the colour, "
        "the shape and the position of every object; mention only what can be seen."
    ),
    (
        "The output must be a single JSON object. It must not contain any additional text, comments, explanations or "
        "formatting such as markdown. The values must be strings or lists of integers."
    ),
    (
        "For each object that is described in the sentence, give the bounding box that contains it. A bounding box is "
        "written as four integers: the left, top, right and bottom edges."
    ),
    (
        "Example input and output are shown below. The user provides an image and a question about the image, and the "
        "assistant provides the correct answer based on the visual content."
    ),
    (
        "When several objects match the phrase, return one box for each of them. When the question cannot be answered "
        "from the image, the answer should say that it is not possible to determine."
    ),
    (
        "Which defect is visible on the surface of this product? Is the label present? What is the number on the sign? "
        "Does the part have a scratch, a crack, a dent or a stain?"
    ),
    (
        "Answers should be concise and accurate. Use complete words rather than abbreviations, and use the same "
        "language as the question. Reasoning should be logical and should refer to details in the image."
    ),
)


def short_prompt(rng: random.Random) -> str:
    """A system prompt of one to three short sentences."""
    return " ".join([rng.choice(_OPENINGS), *rng.sample(_RULES + _FORMAT_RULES, rng.randint(0, 2))])


def long_prompt(rng: random.Random) -> str:
    """A system prompt of a page: some hundred tokens, as the prompts of the four tasks are."""
    sentences = _RULES + _FORMAT_RULES + _GENERAL_TEXT
    return " ".join([rng.choice(_OPENINGS), *rng.sample(sentences, rng.randint(10, len(sentences)))])


def tokenizer_text(seed: int = 0, samples: int = 2_000) -> Iterator[str]:
    """The text that the byte-pair merges are learned from: prompts, questions, answers, and airtune's targets."""
    rng = random.Random(f"tokenizer:{seed}")  # noqa: S311 - text, not secrets
    for index in range(samples):
        lesson = draw_lesson(seed, index, turns=3)
        for turn in lesson.turns:
            yield turn.question
            yield turn.answer
            yield json.dumps({"vqa": {"answer": turn.answer}}, separators=(",", ":"))
        if lesson.objects:
            yield grounding_target(lesson.objects)
            yield json.dumps({"freeform": {"caption": lesson.objects[0].phrase}}, separators=(",", ":"))
        if index % 8 == 0:
            yield long_prompt(rng)
            yield short_prompt(rng)
            yield rng.choice(_GENERAL_TEXT)
            yield f"system\nuser\n{rng.choice(list(COLOURS))}\nassistant\n{rng.choice(SHAPES)}"


def grounding_target(objects: tuple[DrawnObject, ...]) -> str:
    """The phrase-grounding target for the objects, as the tokenizer should meet it."""
    sentence = " and ".join(f"a {drawn.phrase}" for drawn in objects)
    groundings = [
        {"phrase": drawn.phrase, "grounding": [[round(edge * COORDINATES / SIDE) for edge in drawn.box]]}
        for drawn in objects
    ]
    return json.dumps({"phrase_grounding": {"sentence": sentence, "groundings": groundings}}, separators=(",", ":"))
