"""The assistant's answer: how a ground truth becomes the text that is trained, and how a text is read back.

A *truth* is what :attr:`airtune.datasets.record.Record.truth` holds, per task:

* vqa: ``{"answer": str}``
* freeform and video-freeform: ``{"caption": str}``
* phrase-grounding: ``{"sentence": str, "groundings": [{"phrase": str, "boxes": [[xmin, ymin, xmax, ymax]]}]}``
  with integers in 0..1024 on each axis
* generic: ``{"text": str}``

:func:`parse_answer` returns the very same shape, so that scoring compares like with like.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from airtune.errors import DataError, Problem
from airtune.runspec.tasks import Task

COORDINATE_RANGE: Final = 1024
"""Boxes are integers from 0 to this, whatever the size of the picture."""

# The published model is served with constrained decoding that knows no backslash inside a string, so nothing
# that JSON would escape may stand in an answer. Nor may a code fence: whoever reads the answer drops it. Every
# replacement is one character for one: a phrase stays a substring of its sentence.
_REPLACEMENTS: Final = {'"': "'", "\\": "/", "`": "'"}
_ESCAPED: Final = re.compile(r'["\\\x00-\x1f\x7f\ud800-\udfff]|(?<=``)`|`(?=``)|(?<=`)`(?=`)')

_THINK: Final = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_ANSWER: Final = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL)
_FENCE: Final = re.compile(r"```[A-Za-z0-9_-]*")


class Target(NamedTuple):
    """What the assistant is trained to say.

    Attributes:
        text: the answer exactly as it is trained.
        replaced: how many characters had to be replaced, because the reader of the model cannot produce them.
    """

    text: str
    replaced: int


@dataclass(frozen=True)
class Answer:
    """What a model said, as its task reads it.

    Attributes:
        parsed: the answer in the shape of a truth, or None when it cannot be read.
        problem: why it cannot be read, or None.
    """

    parsed: dict[str, Any] | None
    problem: str | None


def clean(text: str) -> tuple[str, int]:
    """The text without code fences and what JSON would have to escape, and how many characters were replaced."""
    return _ESCAPED.subn(_replacement, text)


def _replacement(match: re.Match[str]) -> str:
    character = match.group()
    if "\ud800" <= character <= "\udfff":
        return "\N{REPLACEMENT CHARACTER}"  # half of a pair: it could not even be written as UTF-8
    return _REPLACEMENTS.get(character, " ")


def build_target(task: Task, truth: Mapping[str, Any]) -> Target:
    """The text that the assistant is trained to say for a truth.

    Raises:
        DataError: the truth does not have the shape of its task, see :func:`truth_problem`.
    """
    problem = truth_problem(task, truth)
    if problem is not None:
        raise DataError(Problem("truth", problem, value=_short(truth)))
    if task is Task.GENERIC:
        return Target(str(truth["text"]), 0)
    if task is Task.VQA:
        answer, replaced = clean(truth["answer"])
        return Target(_minified({"vqa": {"answer": answer}}), replaced)
    if task is Task.PHRASE_GROUNDING:
        sentence, replaced = clean(truth["sentence"])
        groundings = [
            {"phrase": clean(item["phrase"])[0], "grounding": [list(box) for box in item["boxes"]]}
            for item in truth["groundings"]
        ]
        return Target(_minified({"phrase_grounding": {"sentence": sentence, "groundings": groundings}}), replaced)
    caption, replaced = clean(truth["caption"])
    return Target(_minified({"freeform": {"caption": caption}}), replaced)


def parse_answer(task: Task, text: str) -> Answer:
    """Reads what a model said.

    The text inside ``<answer>`` counts if there is one, else what stands outside ``<think>``; code fences are
    dropped, and the JSON starts at the first ``{``. An answer that does not hold to its task's rules is a problem,
    never an exception: whatever a model says can be counted.
    """
    outside = _THINK.sub("", text)
    inside = _ANSWER.search(outside)
    said = (inside.group(1) if inside else outside).strip()
    if task is Task.GENERIC:
        return Answer({"text": said}, None) if said else Answer(None, "the answer is empty")
    said = _FENCE.sub("", said)
    start = said.find("{")
    if start < 0:
        return Answer(None, "there is no JSON object in the answer")
    try:
        found, _ = _DECODER.raw_decode(said, start)
    except json.JSONDecodeError as error:
        return Answer(None, f"the JSON breaks off or is malformed at character {error.pos}: {error.msg}")
    except (ValueError, RecursionError):
        return Answer(None, "the JSON holds a number or a nesting that no answer needs")
    parsed, problem = _unwrap(task, found)
    if problem is None and parsed is not None:
        problem = truth_problem(task, parsed)
    return Answer(None, problem) if problem is not None else Answer(parsed, None)


def truth_problem(task: Task, truth: Mapping[str, Any]) -> str | None:
    """What is wrong with a truth (or a parsed answer) of this task, in words; None when nothing is."""
    if task is Task.PHRASE_GROUNDING:
        return _grounding_problem(truth)
    key = {Task.VQA: "answer", Task.GENERIC: "text"}.get(task, "caption")
    value = truth.get(key)
    if not isinstance(value, str):
        return f"{key!r} is missing or not a string"
    return f"{key!r} is empty" if not value.strip() else None


def box_problem(box: object) -> str | None:
    """What is wrong with a box of four integers in 0..1024, in words; None when nothing is."""
    if not isinstance(box, list | tuple) or len(box) != 4:
        return "a box is not a list of four numbers"
    left, top, right, bottom = box
    if (
        type(left) is type(top) is type(right) is type(bottom) is int
        and 0 <= left < right <= COORDINATE_RANGE
        and 0 <= top < bottom <= COORDINATE_RANGE
    ):
        return None  # nearly all of them, of which there may be millions
    if any(isinstance(edge, bool) or not isinstance(edge, int) for edge in box):
        return "a box holds something else than integers"
    if any(not 0 <= edge <= COORDINATE_RANGE for edge in box):
        return f"a box leaves the range 0 to {COORDINATE_RANGE}"
    return "a box is empty: xmin < xmax and ymin < ymax must hold" if left >= right or top >= bottom else None


def _grounding_problem(truth: Mapping[str, Any]) -> str | None:
    sentence, groundings = truth.get("sentence"), truth.get("groundings")
    if not isinstance(sentence, str) or not sentence.strip():
        return "'sentence' is missing, empty or not a string"
    if not isinstance(groundings, list) or not groundings:
        return "'groundings' is missing or empty"
    for item in groundings:
        if not isinstance(item, Mapping):
            return "a grounding is not an object"
        phrase, boxes = item.get("phrase"), item.get("boxes")
        if not isinstance(phrase, str) or not phrase.strip():
            return "a 'phrase' is missing, empty or not a string"
        if phrase not in sentence:
            return f"the phrase {_short(phrase)} is not part of the sentence"
        if not isinstance(boxes, list) or not boxes:
            return f"the phrase {_short(phrase)} has no box"
        for box in boxes:
            problem = box_problem(box)
            if problem is not None:
                return problem
    return None


def _unwrap(task: Task, found: object) -> tuple[dict[str, Any] | None, str | None]:
    key = {Task.VQA: "vqa", Task.PHRASE_GROUNDING: "phrase_grounding"}.get(task, "freeform")
    body = found.get(key) if isinstance(found, dict) else None
    if not isinstance(body, dict):
        return None, f"the JSON has no object {key!r}"
    if task is not Task.PHRASE_GROUNDING:
        inner = "answer" if task is Task.VQA else "caption"
        return {inner: body.get(inner)}, None
    groundings = body.get("groundings")
    if isinstance(groundings, list):
        groundings = [
            {"phrase": item.get("phrase"), "boxes": item.get("grounding")} if isinstance(item, dict) else item
            for item in groundings
        ]
    return {"sentence": body.get("sentence"), "groundings": groundings}, None


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def _minified(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
