"""Which samples are trained: those that fit, said beforehand, and nothing is ever cut off."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from airtune.datasets.pictures.images import Images
from airtune.datasets.record import Record
from airtune.errors import DataError, Problem, SettingsError
from airtune.modeling.conversation import control_tokens
from airtune.modeling.encoding import Encoder
from airtune.modeling.picture_tokens import image_tokens
from airtune.runspec.resolved import ResolvedRun
from airtune.stores import layout
from airtune.training.inputs import every_two_seconds

SET_ASIDE: Final = f"{layout.TRAINING}/set-aside.jsonl"
"""One line a sample that is not trained, with the reason and the remedy."""

_MOST_NAMED: Final = 20


@dataclass(frozen=True, slots=True)
class SetAside:
    """A sample that is not trained, and why."""

    record: Record
    reason: str
    detail: str
    remedy: str

    def to_json(self) -> dict[str, Any]:
        """The line for ``training/set-aside.jsonl``."""
        return {
            "sample": self.record.id,
            "split": self.record.split,
            "source_file": self.record.source_file,
            "source_line": self.record.source_line,
            "reason": self.reason,
            "detail": self.detail,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True)
class Selection:
    """What is trained on and validated with.

    Attributes:
        train: records.
        validation: records.
        set_aside: the others.
        lengths: tokens of each sample that is used, by its id.
        longest: tokens that a sample may have.
    """

    train: list[Record]
    validation: list[Record]
    set_aside: list[SetAside]
    lengths: dict[str, int]
    longest: int

    def set_aside_lines(self) -> str:
        """The text of ``training/set-aside.jsonl``."""
        return "".join(json.dumps(each.to_json(), ensure_ascii=False) + "\n" for each in self.set_aside)


def select(
    records: Sequence[Record],
    run: ResolvedRun,
    encoder: Encoder,
    images: Images,
    *,
    context: int | None,
    say: Callable[[str], None],
) -> Selection:
    """Looks at the length of every sample, from its text and the size of its pictures.

    Args:
        records: of both splits.
        run: its ``max_sequence_length`` decides which samples are set aside.
        encoder: see :class:`airtune.modeling.encoding.Encoder`.
        images: asked only for the sizes of second and further pictures.
        context: tokens that the model can take; None when it does not say.
        say: where lines go.

    Raises:
        DataError: samples do not fit the model and no lower limit was chosen that sets them aside; or none is left.
        SettingsError: the system prompt holds a control token of the model.
    """
    longest = min(limit for limit in (run.max_sequence_length, context, 2**31) if limit is not None)
    measure = _Lengths(run, encoder, images)
    controls = control_tokens(encoder.processor)
    for text in controls:
        if text in run.system_prompt:
            raise SettingsError(
                Problem("systemPrompt", f"holds {text!r}, a control token of the model", fix="take it out")
            )
    lengths: dict[str, int] = {}
    aside: list[SetAside] = []
    kept: dict[str, list[Record]] = {"train": [], "validation": []}
    meter = every_two_seconds("samples measured", say)
    for number, record in enumerate(records):
        meter(number, len(records))
        control = next((text for text in controls if text in record.prompt or text in record.target), None)
        if control is not None:
            aside.append(SetAside(record, "control-token", f"its text holds {control!r}, a control token of the model",
                                  "take it out of the question or the answer"))  # fmt: skip
            continue
        length = measure(record)
        if length > longest:
            aside.append(
                SetAside(record, "too-long", f"{length} tokens, and at most {longest} are taken",
                         "shorten it, lower maxPixels, or raise maxSequenceLength")
            )  # fmt: skip
            continue
        lengths[record.id] = length
        kept[record.split].append(record)
    _refuse(aside, kept["train"], longest, chosen=run.max_sequence_length not in (None, context))
    return Selection(kept["train"], kept["validation"], aside, lengths, longest)


class _Lengths:
    """Tokens of a sample; sizes and prompts that were met before are not measured again."""

    def __init__(self, run: ResolvedRun, encoder: Encoder, images: Images) -> None:
        self._run = run
        self._encoder = encoder
        self._images = images
        self._of_size: dict[tuple[int, int], int] = {}
        self._of_prompt: dict[tuple[str, int], int] = {}

    def __call__(self, record: Record) -> int:
        films = self._images.films(record)
        shown = len(record.images) + len(films)
        key = (record.prompt, shown)
        if key not in self._of_prompt:
            text = self._encoder.prompt_text(
                self._run.system_prompt, len(record.images), record.prompt, videos=len(films)
            )
            self._of_prompt[key] = self._encoder.text_length(text) - shown
        pictures = sum(map(self._encoder.film_length, films)) + sum(self._tokens(size) for size in self._sizes(record))
        return self._of_prompt[key] + pictures + len(self._encoder.target_ids(record.target))

    def _tokens(self, size: tuple[int, int]) -> int:
        if size not in self._of_size:
            self._of_size[size] = image_tokens(self._encoder.processor, [size])[0]
        return self._of_size[size]

    def _sizes(self, record: Record) -> list[tuple[int, int]]:
        sizes = [(record.height, record.width)] if record.images else []
        for key, digest in list(zip(record.images, record.image_digests, strict=True))[1:]:
            width, height = self._images.size(key, digest)
            sizes.append((height, width))
        return sizes


def _refuse(aside: Sequence[SetAside], train: Sequence[Record], longest: int, *, chosen: bool) -> None:
    """Stops where samples were set aside that nobody chose to set aside, or where none is left."""
    too_long = [each for each in aside if each.reason == "too-long"]
    if too_long and not chosen:
        named = [
            Problem(f"sample {each.record.id} ({each.record.source_file}:{each.record.source_line})", each.detail)
            for each in too_long[:_MOST_NAMED]
        ]
        summary = Problem(
            "dataset", f"{len(too_long)} samples do not fit the model, which takes {longest} tokens",
            fix=f"lower maxPixels, shorten their texts, or set maxSequenceLength below {longest} to set them aside",
        )  # fmt: skip
        raise DataError([summary, *named])
    if not train:
        raise DataError(
            Problem("dataset", f"no sample is left to train: all {len(aside)} were set aside",
                    fix="see training/set-aside.jsonl; " + (aside[0].remedy if aside else "add training samples"))
        )  # fmt: skip
