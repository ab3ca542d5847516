"""From one conversation, in any of the shapes that open-source trainers read, to samples.

========================================= ====================================================================
keys                                      who writes it
========================================= ====================================================================
``messages``                              TRL, ms-swift, OpenAI: ``role`` and ``content``
``conversations``, ``conversation``       ShareGPT, LLaVA, LLaMA-Factory: ``from`` and ``value``
``prompt`` and ``completion``             TRL: texts, or messages
``query`` and ``response``, ``history``   ms-swift before its version 2
``instruction``, ``input``, ``output``    Alpaca, LLaMA-Factory
``texts``                                 the Cauldron: ``user`` and ``assistant``
``question`` and ``answer``               tables of questions
========================================= ====================================================================

Boxes beside a conversation: see :mod:`airtune.datasets.readers.swift_objects`.

Several turns: a sample of airtune is one question and one answer. Where the task is vqa, questions stand on their own
(all of them are asked about the same images), so each turn becomes a sample. For the other tasks a later turn means
nothing without the ones before it, and the conversation is set aside rather than torn apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from airtune.datasets.draft import Draft, Outcome, Place, Reject, short
from airtune.datasets.readers import fields
from airtune.datasets.readers.swift_objects import grounding_of, has_marks
from airtune.runspec.answers import parse_answer
from airtune.runspec.tasks import Task

Locate = Callable[[object], str]
"""The key of an image or a video by the name that a conversation gives it; raises :class:`Reject`."""

Turn = tuple[str, Any]
"""Who speaks (``user``, ``assistant`` or ``system``), and the content."""

_LISTS: Final = ("messages", "conversations", "conversation")
_PAIRS: Final = (
    ("prompt", "completion"),
    ("query", "response"),
    ("instruction", "output"),
    ("question", "answer"),
)
_TEXTS: Final = "texts"
_NAMES: Final = {
    "image": ("images", "image", "image_path", "image_paths"),
    "video": ("videos", "video", "video_path", "video_paths"),
}
_MARKS: Final = re.compile(r"<(?:image|video)>\n?")
_SEEN: Final = frozenset({"image", "image_url", "input_image", "video", "video_url"})
_ROLES: Final = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
}


def is_conversation(value: object) -> bool:
    """Whether a JSON value has the keys of one of the shapes."""
    if not isinstance(value, Mapping):
        return False
    if any(name in value for name in _LISTS) or isinstance(value.get(_TEXTS), list):
        return True
    return any(asked in value and answered in value for asked, answered in _PAIRS)


class Conversations:
    """Makes samples of conversations, and remembers what was left out of them.

    Args:
        task: of the run.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._systems = self._texts = self._parted = self._parts = 0

    def hand_over(self) -> tuple[int, ...]:
        """What was counted, for one who adds it up; from here on it is counted anew."""
        counted = self._systems, self._texts, self._parted, self._parts
        self._systems = self._texts = self._parted = self._parts = 0
        return counted

    def take_over(self, counted: tuple[int, ...]) -> None:
        """Add what another one has counted."""
        systems, texts, parted, parts = counted
        self._systems += systems
        self._texts += texts
        self._parted += parted
        self._parts += parts

    def notes(self) -> list[str]:
        """What was left out or done, in sentences."""
        notes = []
        if self._systems:
            notes.append(
                f"{self._systems} samples bring a system message, which is left out: "
                "the run's own system prompt is trained"
            )
        if self._parted:
            notes.append(
                f"{self._parted} conversations of several turns are read as {self._parts} questions, "
                "each on its own: what was said before is not shown with them"
            )
        if self._texts:
            notes.append(f"{self._texts} samples have no image and are trained as text")
        return notes

    def samples(self, value: Any, place: Place, locate: Locate) -> Sequence[Outcome]:
        """Every sample of one conversation, usable or not; at least one.

        Args:
            value: the conversation, or why its line cannot be read.
            place: where it stands.
            locate: finds its images and videos.
        """
        images: list[str] = []
        try:
            if isinstance(value, Reject):
                raise value
            if not isinstance(value, Mapping):
                raise Reject("annotation-shape", f"the line is not an object: {short(value)}")
            turns = _turns(value)
            if "system" in value or any(role == "system" for role, _ in turns):
                turns = [turn for turn in turns if turn[0] != "system"]
                self._systems += bool(value.get("system")) or "system" not in value
            pairs = self._pairs(turns)
        except Reject as refusal:
            return [refusal.at(place)]
        try:
            images += [locate(name) for name in _named(value, turns, "image")]
            video = self._video(_named(value, turns, "video"), len(images), locate)
            if not images and video is None and self.task is not Task.GENERIC:  # the others ask about a picture
                raise Reject("image-not-named", "the sample names no image")
            texts = [(_text(asked), _text(answered)[0]) for asked, answered in pairs]
            _check_marks([marks for (_, marks), _ in texts], len(images) + (video is not None))
            if "objects" in value and any(has_marks(asked) or has_marks(answered) for (asked, _), answered in texts):
                return [self._grounding(texts[0][0][0], texts[0][1], value["objects"], place, images)]
        except Reject as refusal:
            return [refusal.at(_nth(place, number), images) for number in range(1, len(pairs) + 1)]
        if len(pairs) > 1:
            self._parted += 1
            self._parts += len(pairs)
        self._texts += not images and video is None
        return [
            self._sample(asked, answered, _nth(place, number) if number > 1 else place, tuple(images), video)
            for number, ((asked, _), answered) in enumerate(texts, start=1)
        ]

    def _pairs(self, turns: list[Turn]) -> list[tuple[Any, Any]]:
        roles = [role for role, _ in turns]
        if roles != ["user", "assistant"] * (len(roles) // 2) or not roles:
            said = ", ".join(roles[:6]) or "none"
            raise Reject("several-turns", f"a user turn and an assistant turn are read in turn, and there are: {said}")
        if len(roles) > 2 and self.task is not Task.VQA:
            raise Reject(
                "several-turns", f"one user turn and one assistant turn are read, and there are {len(roles)} turns"
            )
        contents = [content for _, content in turns]
        return list(zip(contents[::2], contents[1::2], strict=True))

    def _video(self, named: list[Any], images: int, locate: Locate) -> str | None:
        """The key of a sample's video, which the task of videos has and no other."""
        if not self.task.needs_video:
            if named:
                raise Reject("video", "the sample has a video")
            return None
        if images or len(named) != 1:
            raise Reject("video-not-named", f"one video is shown, and there are {len(named)}, and {images} images")
        return locate(named[0])

    def _grounding(self, asked: str, answered: str, objects: Any, place: Place, images: list[str]) -> Draft:
        if self.task is not Task.PHRASE_GROUNDING:
            raise Reject("other-task", "a conversation with boxes beside it is for phrase-grounding")
        if len(images) != 1:
            raise Reject("annotation-shape", f"boxes of one image are read, and there are {len(images)} images")
        prompt, truth, units = grounding_of(asked, answered, objects)
        return Draft(place=place, images=tuple(images), prompt=prompt or None, truth=truth, units=units)

    def _sample(self, asked: str, answered: str, place: Place, images: tuple[str, ...], video: str | None) -> Outcome:
        try:
            prompt = (
                fields.usable_text(asked, "content", empty="question-empty") if asked or self.task is Task.VQA else None
            )
            truth = _truth(self.task, fields.usable_text(answered, "content", empty="answer-empty"))
        except Reject as refusal:
            return refusal.at(place, images)
        return Draft(place=place, images=images, video=video, prompt=prompt, truth=truth)


def _nth(place: Place, number: int) -> Place:
    return Place(file=place.file, line=place.line, index=number, split=place.split)


def _check_marks(marks: list[int], shown: int) -> None:
    """Hold the image marks of each question against what is shown with all of them."""
    if sum(marks) not in (0, shown):
        raise Reject("annotation-shape", f"{sum(marks)} times <image> or <video> in the user's text, for {shown}")
    if any(marks[1:]):
        raise Reject("several-turns", "a later turn shows another image: its question cannot stand on its own")


def _turns(value: Mapping[str, Any]) -> list[Turn]:
    for name in _LISTS:
        if name in value:
            return _messages(value, name)
    for asked, answered in _PAIRS:
        if asked in value and answered in value:
            return _pair(value, asked, answered)
    if _TEXTS in value:
        return _exchanges(value)
    if "chosen" in value and "rejected" in value:
        raise Reject("annotation-shape", "'chosen' and 'rejected' are preferences, and one answer is trained")
    return _messages(value, _LISTS[0])


def _messages(value: Mapping[str, Any], name: str) -> list[Turn]:
    turns = []
    for message in fields.items(value, name, of="message"):
        if type(message) is not dict and not isinstance(message, Mapping):  # the first is told ten times as fast
            raise Reject("annotation-shape", f"a message is not an object: {short(message)}")
        said = message["role"] if "role" in message else message.get("from")
        role = _ROLES.get(said) if isinstance(said, str) else None
        if role is None:
            raise Reject("annotation-shape", f"a message's role is {short(said)}; known are user, assistant, system")
        turns.append((role, message["content"] if "content" in message else message.get("value")))
    return turns


def _pair(value: Mapping[str, Any], asked: str, answered: str) -> list[Turn]:
    """A question and its answer under keys of their own, each a text or, as TRL allows, messages."""
    before = _history(value)
    turns: list[Turn] = []
    for name, role in ((asked, "user"), (answered, "assistant")):
        if (
            isinstance(value[name], list)
            and value[name]
            and isinstance(value[name][0], Mapping)
            and ("role" in value[name][0] or "from" in value[name][0])
        ):
            turns += _messages(value, name)
        else:
            turns.append((role, value[name]))
    more = value.get("input")
    if asked == "instruction" and isinstance(more, str) and more.strip() and isinstance(turns[0][1], str):
        turns[0] = ("user", f"{turns[0][1]}\n{more}")
    return before + turns


def _history(value: Mapping[str, Any]) -> list[Turn]:
    turns: list[Turn] = []
    for exchange in value.get("history") or ():
        if not isinstance(exchange, Sequence) or isinstance(exchange, str) or len(exchange) != 2:
            raise Reject("annotation-shape", f"'history' is not a list of questions and answers: {short(exchange)}")
        turns += [("user", exchange[0]), ("assistant", exchange[1])]
    return turns


def _exchanges(value: Mapping[str, Any]) -> list[Turn]:
    turns: list[Turn] = []
    for exchange in fields.items(value, _TEXTS, of="question"):
        if not isinstance(exchange, Mapping):
            raise Reject("annotation-shape", f"an element of {_TEXTS!r} is not an object: {short(exchange)}")
        turns += [("user", exchange.get("user")), ("assistant", exchange.get("assistant"))]
    return turns


def _text(content: Any) -> tuple[str, int]:
    """A message's text without its image marks, and how many of them there were."""
    if isinstance(content, str):
        if "<" not in content:
            return content.strip(), 0
        text, marks = _MARKS.subn("", content)
        return text.strip(), marks
    parts = content if isinstance(content, list) else [content]
    texts: list[str] = []
    marks = 0
    for part in parts:
        if isinstance(part, Mapping) and part.get("type") in _SEEN:
            marks += 1
            continue
        said = part.get("text") if isinstance(part, Mapping) else part
        if not isinstance(said, str):
            raise Reject("annotation-shape", f"a message's content is neither text nor image nor video: {short(part)}")
        text, found = _MARKS.subn("", said)
        texts.append(text)
        marks += found
    return "\n".join(texts).strip(), marks


def _named(value: Mapping[str, Any], turns: list[Turn], kind: str) -> list[Any]:
    """The names of a sample's images or videos."""
    named = None
    for name in _NAMES[kind]:
        named = value.get(name)
        if named is not None:
            break
    else:  # TRL and OpenAI allow the image to stand in the part itself
        parts = [part for _, content in turns if isinstance(content, list) for part in content]
        if not parts:
            return []
        keys = (kind, f"{kind}_url", "path", "url")
        named = [
            next((part[key] for key in keys if part.get(key) is not None), None)
            for part in parts
            if isinstance(part, Mapping) and part.get("type") in (kind, f"{kind}_url", f"input_{kind}")
        ]
        named = [name for name in named if name is not None]
    if not isinstance(named, list) and isinstance(named, str | Mapping):
        named = [named]
    if not isinstance(named, list):
        raise Reject("annotation-shape", f"'{kind}s' is not a list: {short(named)}")
    return [
        item.get("path", item.get("url")) if not isinstance(item, str) and isinstance(item, Mapping) else item
        for item in named
    ]


def _truth(task: Task, answered: str) -> dict[str, Any]:
    if task is Task.GENERIC:
        return {"text": answered}
    if "{" in answered:
        answer = parse_answer(task, answered)
        if answer.parsed is not None:
            return answer.parsed
    if task is Task.PHRASE_GROUNDING:
        raise Reject("answer-unreadable", f"no answer for {task.value}: {parse_answer(task, answered).problem}")
    return {"answer" if task is Task.VQA else "caption": answered}
