"""What a reader hands on: samples as their format states them, and samples that cannot be used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airtune.datasets.record import Split

if TYPE_CHECKING:
    from airtune.datasets.annotations.boxes import Units

REMEDIES: Final = {
    "annotation-malformed": "correct the file at the place that is named, and write it in UTF-8",
    "annotation-shape": "correct the annotation as docs/datasets.md shows its format",
    "annotation-empty": "annotate the image, or delete the line",
    "annotation-outside": "keep annotation files inside the dataset, without symbolic links that lead out",
    "columns-unknown": "name the columns as docs/datasets.md lists them, or write chat JSONL",
    "other-task": "nothing, if the dataset serves several tasks; otherwise change projectKind",
    "no-object": "nothing, if the image is meant to show none: phrase grounding trains on images with a box",
    "video": "name it in chat JSONL for projectKind video-freeform, or export frames as images",
    "video-not-named": "name one video a sample, and no image",
    "video-unreadable": "convert the video to MP4 (H.264), upright",
    "video-damaged": "copy or export the video again",
    "video-too-short": "name an image instead: a video has two frames or more",
    "question-empty": "write the question, or delete it",
    "answer-empty": "write the answer, or delete the question",
    "answer-unreadable": "write the answer in the form of its task, as docs/datasets.md shows it",
    "several-turns": "write one question and one answer a sample; for vqa, questions that stand on their own",
    "phrase-ambiguous": "rename one of the classes, so that neither name is part of the other",
    "phrase-missing": "copy the phrase letter by letter from the sentence",
    "box-shape": "write boxes as [xmin, ymin, xmax, ymax], or as four [x, y] corners",
    "box-in-pixels": "divide x by the image's width and y by its height",
    "box-in-fractions": "multiply x by the image's width and y by its height",
    "box-outside": "clip the box to the image",
    "box-inverted": "write the smaller coordinate first: xmin < xmax, ymin < ymax",
    "box-empty": "draw the box again: it has no area",
    "not-representable": "convert it to a format that can hold it, or leave it where it is",
    "image-not-named": "name the image of the sample",
    "image-missing": "bring the image, or delete its annotations",
    "image-url": "download the image into the dataset: nothing is fetched from the internet",
    "image-outside": "move the image into the dataset's folder and name it relative to it",
    "image-unreadable": "replace the file by an image: AVIF, BMP, GIF, HEIC, JPEG, JPEG 2000, PNG, TIFF or WebP",
    "image-damaged": "copy or export the image again",
    "image-truncated": "copy or export the image again: its end is missing",
    "image-too-large": "scale the image down",
    "image-too-small": "leave the image out, or bring a larger one",
    "image-too-thin": "crop or tile the image",
    "image-size-differs": "bring the image that was annotated, or correct width and height",
    "image-orientation": "rotate the image file itself and drop its EXIF orientation, then export again",
}
"""Every reason for which a sample is set aside, and what a person can do about it."""

NO_FAULT: Final = frozenset({"other-task", "no-object"})
"""Reasons that say nothing against a dataset: they do not count towards ``maximumSetAside``."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a sample stands in the dataset.

    Attributes:
        file: key of the file, relative to the dataset's root.
        line: counted from 1.
        index: which sample of that line, counted from 1.
        split: as delivered; None where the dataset leaves it open.
    """

    file: str
    line: int
    index: int = 1
    split: Split | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" + (f" ({self.index})" if self.index > 1 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One sample as its format states it, before its images were looked at.

    Attributes:
        place: where it stands.
        images: keys relative to the dataset's root, none for a sample of text alone; they may not exist.
        prompt: the user's text; None where the task's own is to be used.
        truth: in the shape of :mod:`airtune.runspec.answers`, its boxes as the format has them.
        annotated_size: width and height in pixels of the (only) image, as the annotation states them.
        video: key of its video instead of images.
        units: of the boxes in ``truth``; :func:`airtune.datasets.annotations.boxes.finish` puts them on the grid once
            the image's size is known.
    """

    place: Place
    images: tuple[str, ...]
    prompt: str | None
    truth: dict[str, Any]
    annotated_size: tuple[int, int] | None = None
    video: str | None = None
    units: Units = "grid"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """One sample that is not used: kept on record, never dropped.

    Attributes:
        place: where it stands.
        reason: a key of :data:`REMEDIES`.
        message: what is wrong with this very sample.
        images: the images it names, as far as they could be read.
    """

    place: Place
    reason: str
    message: str
    images: tuple[str, ...] = ()

    @property
    def remedy(self) -> str:
        """What a person can do about it."""
        return REMEDIES[self.reason]

    def to_json(self) -> dict[str, Any]:
        """One line of ``dataset/set-aside.jsonl``."""
        return {
            "source_file": self.place.file,
            "source_line": self.place.line,
            "sample": self.place.index,
            "split": self.place.split,
            "images": list(self.images),
            "reason": self.reason,
            "message": self.message,
            "remedy": self.remedy,
        }


Outcome = Draft | SetAside


class Reject(Exception):  # noqa: N818 - it never leaves the readers, which turn it into a SetAside
    """Raised where a sample turns out to be unusable.

    Args:
        reason: a key of :data:`REMEDIES`.
        message: what is wrong.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[type[Reject], tuple[str, str]]:
        return type(self), (self.reason, self.message)  # it goes from one process to another

    def at(self, place: Place, images: Iterable[str] = ()) -> SetAside:
        """The sample at ``place``, set aside for this reason."""
        return SetAside(place=place, reason=self.reason, message=self.message, images=tuple(images))


def writable(text: str) -> str:
    """The text without what cannot be written as UTF-8 or has no meaning in a text (control characters)."""
    return _CONTROL.sub(" ", _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text))


def writable_value(value: Any) -> Any:
    """The value of a JSON text with all its texts :func:`writable`."""
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, list):
        return [writable_value(item) for item in value]
    if isinstance(value, dict):
        return {writable(key): writable_value(item) for key, item in value.items()}
    return value


def short(value: object, limit: int = 80) -> str:
    """The value for a message: as JSON where possible, cut after ``limit`` characters."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
