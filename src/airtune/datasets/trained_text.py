"""From what a sample states to the texts that are trained, and what had to be changed on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airtune.datasets.control_tokens import ControlTokens
from airtune.datasets.draft import Reject, short
from airtune.errors import DataError
from airtune.runspec.answers import build_target, clean, parse_answer
from airtune.runspec.tasks import Task


@dataclass(frozen=True, slots=True)
class TrainedText:
    """One sample's texts.

    Attributes:
        prompt: the user's text; None where the sample brings none.
        target: the assistant's text, exactly as it is trained.
        truth: as our own parser reads the target back.
        content: the truth before control tokens were escaped, for digests: it is the same whatever model is trained.
        replaced: characters of the target that were replaced, because the reader of the model cannot produce them.
        escaped: control tokens that were escaped, in prompt and target together.
        repeated_boxes: boxes that stood under their phrase already and are left out.
    """

    prompt: str | None
    target: str
    truth: dict[str, Any]
    content: dict[str, Any]
    replaced: int
    escaped: int
    repeated_boxes: int


def trained_text(task: Task, prompt: str | None, truth: Mapping[str, Any], controls: ControlTokens) -> TrainedText:
    """The texts of one sample.

    Args:
        task: of the run.
        prompt: as the sample states it.
        truth: as the sample states it, boxes in 0..1024.
        controls: what must not stand in a text as it is.

    Raises:
        Reject: no answer can be made of the truth, or what a reader would make of the answer is not the truth.
    """
    repeated = 0
    if task is Task.PHRASE_GROUNDING:
        truth, repeated = _distinct_boxes(truth)
    escaped_truth, escaped = controls.escape_all(truth)
    if prompt is not None:
        prompt, escaped_here = controls.escape(prompt)
        escaped += escaped_here
    target, replaced, read_back = _target(task, escaped_truth)
    content = read_back
    if task is Task.GENERIC:
        content = {"text": target}  # a reader takes what stands in <answer>; the reasoning before it is content too
    if escaped:
        content = _cleaned(truth)
    return TrainedText(prompt, target, read_back, content, replaced, escaped, repeated)


def _target(task: Task, truth: Mapping[str, Any]) -> tuple[str, int, dict[str, Any]]:
    try:
        target, replaced = build_target(task, truth)
    except DataError as error:
        raise Reject("answer-unreadable", error.problems[0].message) from error
    answer = parse_answer(task, target)
    if answer.parsed is None:
        raise Reject("answer-unreadable", f"the answer cannot be read back: {answer.problem}: {short(target)}")
    if task is not Task.GENERIC and answer.parsed != (_cleaned(truth) if replaced else truth):
        raise Reject("answer-unreadable", f"the answer would be read back as something else: {short(answer.parsed)}")
    return target, replaced, answer.parsed


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)[0]
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _cleaned(item) for key, item in value.items()}
    return value


def _distinct_boxes(truth: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """The truth with each box once under its phrase, and how many were left out."""
    groundings, repeated = [], 0
    for item in truth["groundings"]:
        boxes = item["boxes"]
        if len(boxes) > 1:
            distinct = [list(box) for box in dict.fromkeys(map(tuple, boxes))]
            repeated += len(boxes) - len(distinct)
            item = {**item, "boxes": distinct}
        groundings.append(item)
    return {**truth, "groundings": groundings}, repeated
