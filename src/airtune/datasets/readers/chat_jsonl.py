"""Chat JSONL: one sample a line, as TRL and ms-swift (``messages``) and LLaMA-Factory (``conversations``) read it.

::

    {"messages": [{"role": "user", "content": "<image>How many?"}, {"role": "assistant", "content": "Two"}],
     "images": ["images/a.jpg"]}

``content`` may also be a list of parts, a sample may show several images, and for the task generic none at all. For the
task video-freeform it shows one video (``"videos": ["videos/a.mp4"]``, ``<video>`` in the text) and no image. A file
whose name begins with ``train``, or with ``val``, ``valid``, ``dev`` or ``test``, delivers that split; other files
leave it open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, ClassVar, Final

from airtune.datasets.draft import Draft, Outcome, Place, Reject, short
from airtune.datasets.readers import fields
from airtune.datasets.readers.json_lines import json_lines
from airtune.datasets.record import Split
from airtune.datasets.source import Source
from airtune.runspec.answers import parse_answer
from airtune.runspec.tasks import Task

NAME: Final = "chat-jsonl"

_SUFFIXES: Final = (".jsonl", ".ndjson", ".json")
_MARKS: Final = re.compile(rb'"(?:messages|conversations)"')
_IMAGES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jp2", ".avif")
_LOOKED_AT: Final = 50
_VALIDATION_NAMES: Final = re.compile(r"(?:val|valid|validation|dev|eval|test)(?:[._-].*)?", re.IGNORECASE)
_TRAIN_NAMES: Final = re.compile(r"(?:train|training)(?:[._-].*)?", re.IGNORECASE)
_PLACEHOLDER: Final = re.compile(r"<(?:image|video)>\n?")
_ROLES: Final = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "system": "system",
}


class ChatReader:
    """Reads chat JSONL.

    Args:
        source: the dataset's folder.
    """

    name: ClassVar[str] = NAME

    def __init__(self, source: Source) -> None:
        self._source = source
        self._systems = 0
        self._texts = 0
        self._passed_over: list[str] = []

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """Whether one of the first JSON files holds conversations."""
        return any(
            isinstance(content, bytes) and _MARKS.search(content)
            for _, content in source.read_many(_json_files(source)[:_LOOKED_AT])
        )

    def notes(self) -> list[str]:
        """What was left out as a whole, in sentences; complete after :meth:`read`."""
        notes = []
        if self._systems:
            notes.append(
                f"{self._systems} samples bring a system message, which is left out: "
                "the run's own system prompt is trained"
            )
        if self._texts:
            notes.append(f"{self._texts} samples have no image and are trained as text")
        if self._passed_over:
            files = short(self._passed_over[:5])
            notes.append(f"{len(self._passed_over)} JSON files hold no conversations and are passed over: {files}")
        return notes

    def images(self) -> list[str]:
        """The keys of all files whose names say that they are images."""
        return [key for key in self._source.keys if key.lower().endswith(_IMAGES)]

    def read(self, task: Task) -> Iterator[Outcome]:
        """Every sample of every file, usable or not, in the order of the files' names."""
        for key, content in self._source.read_many(_json_files(self._source)):
            split = _split(key)
            if isinstance(content, Reject):
                yield content.at(Place(file=key, line=1, split=split))
            elif not _MARKS.search(content):
                self._passed_over.append(key)
            else:
                for line, value in json_lines(content):
                    self._systems += _has_system_message(value)
                    sample = _sample(self._source, task, Place(file=key, line=line, split=split), value)
                    self._texts += isinstance(sample, Draft) and not sample.images and sample.video is None
                    yield sample


def _json_files(source: Source) -> list[str]:
    return sorted(key for key in source.keys if key.lower().endswith(_SUFFIXES))


def _has_system_message(value: Any) -> bool:
    try:
        return isinstance(value, Mapping) and any(role == "system" for role, _ in _turns(value))
    except Reject:
        return False


def _split(key: str) -> Split | None:
    stem = PurePosixPath(key).stem
    if _TRAIN_NAMES.fullmatch(stem):
        return "train"
    return "validation" if _VALIDATION_NAMES.fullmatch(stem) else None


def _sample(source: Source, task: Task, place: Place, value: Any) -> Outcome:
    images: list[str] = []
    try:
        if isinstance(value, Reject):
            raise value
        if not isinstance(value, Mapping):
            raise Reject("annotation-shape", f"the line is not an object: {short(value)}")
        turns = [(role, content) for role, content in _turns(value) if role != "system"]
        if [role for role, _ in turns] != ["user", "assistant"]:
            roles = ", ".join(role for role, _ in turns) or "none"
            raise Reject("several-turns", f"one user turn and one assistant turn are read, and there are: {roles}")
        folder = PurePosixPath(place.file).parent.as_posix()
        folders = _folders("" if folder == "." else folder)
        images += [source.image_key(name, folders) for name in _named(value, turns, "image")]
        video = _video(source, task, _named(value, turns, "video"), images, folders)
        if not images and video is None and task is not Task.GENERIC:  # the other tasks ask about a picture
            raise Reject("image-not-named", "the sample names no image")
        asked, placeholders = _text(turns[0][1])
        shown = len(images) + (video is not None)
        if placeholders not in (0, shown):
            raise Reject("annotation-shape", f"{placeholders} times <image> or <video> in the user's text, for {shown}")
        prompt = fields.usable_text(asked, "content", empty="question-empty") if asked or task is Task.VQA else None
        answered = fields.usable_text(_text(turns[1][1])[0], "content", empty="answer-empty")
        return Draft(place=place, images=tuple(images), video=video, prompt=prompt, truth=_truth(task, answered))
    except Reject as refusal:
        return refusal.at(place, images)


def _folders(folder: str) -> list[str]:
    below = [f"{folder}/{name}" if folder else name for name in ("images", "videos")]
    return list(dict.fromkeys([folder, "", *below]))


def _video(source: Source, task: Task, named: list[Any], images: list[str], folders: list[str]) -> str | None:
    """The key of a sample's video, which the task of videos has and no other."""
    if not task.needs_video:
        if named:
            raise Reject("video", "the sample has a video")
        return None
    if images or len(named) != 1:
        raise Reject("video-not-named", f"one video is shown, and there are {len(named)}, and {len(images)} images")
    return source.image_key(named[0], folders)


def _turns(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    turns = []
    for message in fields.items(value, "conversations" if "messages" not in value else "messages", of="message"):
        if not isinstance(message, Mapping):
            raise Reject("annotation-shape", f"a message is not an object: {short(message)}")
        said = message.get("role", message.get("from"))
        role = _ROLES.get(said) if isinstance(said, str) else None
        if role is None:
            raise Reject("annotation-shape", f"a message's role is {short(said)}; known are user, assistant, system")
        turns.append((role, message.get("content", message.get("value"))))
    return turns


def _text(content: Any) -> tuple[str, int]:
    """A message's text without its image marks, and how many of them there were."""
    parts = content if isinstance(content, list) else [content]
    texts, images = [], 0
    for part in parts:
        if isinstance(part, Mapping) and part.get("type") in ("image", "image_url", "video"):
            images += 1
            continue
        text = part.get("text") if isinstance(part, Mapping) else part
        if not isinstance(text, str):
            raise Reject("annotation-shape", f"a message's content is neither text nor image nor video: {short(part)}")
        text, marks = _PLACEHOLDER.subn("", text)
        texts.append(text)
        images += marks
    return "\n".join(texts).strip(), images


def _named(value: Mapping[str, Any], turns: list[tuple[str, Any]], kind: str) -> list[Any]:
    """The names of a sample's images or videos."""
    named = value.get(f"{kind}s", value.get(kind))
    if named is None:  # TRL allows the image to stand in the part itself
        parts = [part for _, content in turns if isinstance(content, list) for part in content]
        named = [part[kind] for part in parts if isinstance(part, Mapping) and kind in part]
    if isinstance(named, str | Mapping):
        named = [named]
    if not isinstance(named, list):
        raise Reject("annotation-shape", f"'{kind}s' is not a list: {short(named)}")
    return [item.get("path") if isinstance(item, Mapping) else item for item in named]


def _truth(task: Task, answered: str) -> dict[str, Any]:
    if task is Task.GENERIC:
        return {"text": answered}
    answer = parse_answer(task, answered)
    if answer.parsed is not None:
        return answer.parsed
    if task is Task.PHRASE_GROUNDING:
        raise Reject("answer-unreadable", f"no answer for {task.value}: {answer.problem}")
    return {"answer" if task is Task.VQA else "caption": answered}
