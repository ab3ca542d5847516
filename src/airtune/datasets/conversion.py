"""From one format to another: every sample is written, or named with the reason why not."""

from __future__ import annotations

import json
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from airtune.datasets.draft import Draft, Outcome, Place, Reject, SetAside
from airtune.datasets.pictures.images import Images
from airtune.datasets.progress import Meter, Say
from airtune.datasets.readers.formats import Reader, reader_for
from airtune.datasets.record import Split
from airtune.datasets.sources.source import Source
from airtune.datasets.task_guess import guess_task
from airtune.datasets.writers.base import Sides, Writer
from airtune.datasets.writers.chat import ChatWriter
from airtune.datasets.writers.coco import CocoWriter
from airtune.datasets.writers.pictures import Pictures
from airtune.datasets.writers.vi import ViWriter
from airtune.errors import DataError, Problem, SettingsError
from airtune.runspec.tasks import Task
from airtune.stores.opening import local_path

_ALL: Final[tuple[type[Writer], ...]] = (ViWriter, CocoWriter, ChatWriter)

WRITERS: Final[dict[str, type[Writer]]] = {writer.name: writer for writer in _ALL}
"""By the name that ``--to`` gives them."""

_TELLING: Final = ("vi", "coco", "voc", "yolo", "csv")
"""Formats whose annotations say which task they are for: a dataset of several tasks is converted as a whole."""

_TASKS: Final = (Task.PHRASE_GROUNDING, Task.VQA, Task.FREEFORM)


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of a dataset.

    Attributes:
        samples: how many were written, by task.
        images: how many image files were made.
        left: samples that were not written, by reason.
        left_file: where they are named, one JSON object a line; None where all were written.
        notes: what the reader left out as a whole.
    """

    samples: dict[str, int]
    images: int
    left: dict[str, int]
    left_file: Path | None
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "samples": self.samples,
            "images": self.images,
            "not_written": self.left,
            "not_written_file": str(self.left_file) if self.left_file is not None else None,
            "notes": self.notes,
        }


def convert(
    uri: str,
    target: Path,
    to: str,
    *,
    task: Task | None = None,
    named: str | None = None,
    link: bool = False,
    tell: Say,
) -> Converted:
    """Write a dataset in another format; the folder appears whole or not at all.

    Args:
        uri: the dataset.
        target: the folder to make; it must not exist.
        to: a key of :data:`WRITERS`.
        task: which samples; None takes all of a dataset that says what they are for, and otherwise the task that most
            of its samples can be used for.
        named: the dataset's format; None looks for itself.
        link: make hard links to the images instead of copies, where that is possible.
        tell: where lines about the progress go.

    Raises:
        DataError: there is no such dataset, or not one of its samples can be written.
        SettingsError: no such format, or the target is there already.
        NotPermittedError: the store or the platform forbids the dataset.
        StoreError: the store failed.
    """
    if to not in WRITERS:
        raise SettingsError(Problem("--to", "not a format that airtune writes", value=to, allowed=", ".join(WRITERS)))
    _check_target(uri, target)
    source = Source.open(uri)
    name, reader = reader_for(source, named)
    tasks = _tasks(name, reader, task, uri)
    tell(f"{uri}: {name}, {', '.join(each.value for each in tasks)}")
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    list_file = unfinished.with_name(f"{unfinished.name}.jsonl")
    left_file = target.with_name(f"{target.name}.not-written.jsonl")
    try:
        unfinished.mkdir(parents=True)
        pictures = Pictures(Images(uri), unfinished, link=link)
        writer = WRITERS[to](unfinished, pictures, _sides(reader, tasks))
        with list_file.open("w", encoding="utf-8") as file:
            left = _Left(file)
            samples = _write(reader, tasks, writer, left, Meter("samples written", tell))
        if left.counts:
            list_file.rename(left_file)
        if not samples:
            reasons = ", ".join(f"{count} {reason}" for reason, count in left.counts.most_common(3)) or "there is none"
            raise DataError(Problem(uri, f"no sample can be written as {to}: {reasons}", fix=f"see {left_file}"))
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        list_file.unlink(missing_ok=True)
    return Converted(
        {each.value: count for each, count in samples.items()},
        pictures.count,
        dict(left.counts.most_common()),
        left_file if left.counts else None,
        reader.notes(),
    )


def _check_target(uri: str, target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise SettingsError(Problem("DST", "it is there already", value=str(target), fix="name a folder that is not"))
    root = local_path(uri) if "://" in uri else None
    if root is not None and target.absolute().is_relative_to(root):
        raise SettingsError(Problem("DST", "it lies inside the dataset", value=str(target), fix="name another folder"))


def _tasks(name: str, reader: Reader, task: Task | None, uri: str) -> tuple[Task, ...]:
    if task is not None:
        return (task,)
    if name in _TELLING:
        return _TASKS
    found = guess_task(reader)
    if found is None:
        raise DataError(Problem(uri, "no annotation tells what the dataset is for", fix="name its --task"))
    return (found,)


def _sides(reader: Reader, tasks: tuple[Task, ...]) -> Sides:
    """Where samples go: a dataset that brings no whole split gets none here either."""
    delivered: set[Split | None] = set()
    for task in tasks:
        for outcome in reader.read(task):
            delivered.add(outcome.place.split)
            if {"train", "validation"} <= delivered:
                return {"train": "train", "validation": "validation", None: "train"}
    if delivered == {"train"}:
        return {"train": "train"}
    return {"train": None, "validation": None, None: None}


class _Left:
    """Samples that are not written, each named once, however many tasks find it unusable."""

    def __init__(self, file: TextIO) -> None:
        self.counts: Counter[str] = Counter()
        self._file = file
        self._seen: set[tuple[str, int, int]] = set()

    def add(self, row: SetAside) -> None:
        place = (row.place.file, row.place.line, row.place.index)
        if place not in self._seen:
            self._seen.add(place)
            self.counts[row.reason] += 1
            self._file.write(json.dumps(row.to_json(), ensure_ascii=False) + "\n")


def _write(reader: Reader, tasks: tuple[Task, ...], writer: Writer, left: _Left, meter: Meter) -> dict[Task, int]:
    samples: dict[Task, int] = {}
    elsewhere = _Elsewhere(len(tasks))
    for task in tasks:
        for outcome in reader.read(task):
            try:
                if _one(outcome, task, writer):
                    samples[task] = samples.get(task, 0) + 1
                    meter(sum(samples.values()))
            except Reject as refusal:
                if refusal.reason == "other-task":
                    elsewhere.add(outcome.place)
                else:
                    left.add(refusal.at(outcome.place, outcome.images))
    for row in elsewhere.everywhere(reader.read(tasks[0])):
        left.add(row)
    writer.close()
    return samples


def _one(outcome: Outcome, task: Task, writer: Writer) -> bool:
    """Write one outcome; True where it is a sample."""
    if isinstance(outcome, Draft):
        writer.add(outcome, task)
        return True
    if outcome.reason != "no-object" or not outcome.images:
        raise Reject(outcome.reason, outcome.message)
    writer.nothing(outcome.images[0], outcome.place.split)
    return False


class _Elsewhere:
    """Annotations that some of the tasks have no sample for: they are left where none of them has."""

    def __init__(self, tasks: int) -> None:
        self._tasks = tasks
        self._refused: Counter[int] = Counter()

    def add(self, place: Place) -> None:
        """One task has no sample for it."""
        self._refused[_short(place)] += 1

    def everywhere(self, outcomes: Iterator[Outcome]) -> Iterator[SetAside]:
        """Those of the outcomes, which are read once more, that no task has a sample for."""
        if self._tasks not in self._refused.values():
            return
        for outcome in outcomes:
            if isinstance(outcome, SetAside) and self._refused[_short(outcome.place)] == self._tasks:
                yield outcome


def _short(place: Place) -> int:
    """A place in eight bytes: there may be millions."""
    return hash((place.file, place.line, place.index))
