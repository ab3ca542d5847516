"""From what a sample states to the texts that are trained, and what had to be changed on the way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from airtune.datasets.annotations.control_tokens import ControlTokens
from airtune.datasets.draft import Reject, short
from airtune.errors import DataError
from airtune.runspec.answers import build_target, clean, parse_answer
from airtune.runspec.tasks import Task

_MEANINGFUL: Final = re.compile(r'["\\<`\x00-\x1f\x7f\ud800-\udfff]')
"""What is escaped in JSON, or read as a tag or a fence."""

_PLAIN_FORMS: Final = {
    Task.VQA: ("answer", '{"vqa":{"answer":"', '"}}'),
    Task.FREEFORM: ("caption", '{"freeform":{"caption":"', '"}}'),
    Task.VIDEO_FREEFORM: ("caption", '{"freeform":{"caption":"', '"}}'),
}
"""By task, the key of its truth, and what stands before and after the text in its target."""


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
    quick = _plain_text(task, prompt, truth, controls)
    if quick is not None:
        return quick
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


def _plain_text(
    task: Task, prompt: str | None, truth: Mapping[str, Any], controls: ControlTokens
) -> TrainedText | None:
    """What :func:`trained_text` would find where the answer is one text in which nothing has a meaning of its own.

    Most answers are such, and of a million samples each microsecond is a second.
    """
    form = _PLAIN_FORMS.get(task)
    if form is None or len(truth) != 1:
        return None
    name, begin, end = form
    text = truth.get(name)
    if type(text) is not str or not text.strip() or _MEANINGFUL.search(text) or controls.escape(text)[1]:
        return None
    escaped = 0
    if prompt is not None:
        prompt, escaped = controls.escape(prompt)
    read_back = {name: text}
    return TrainedText(prompt, f"{begin}{text}{end}", read_back, read_back, 0, escaped, 0)


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
