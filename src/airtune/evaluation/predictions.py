"""The rows of ``evaluation/predictions.jsonl``: one answer of one model to one sample.

The file is written while answers are generated, so that a stage that was killed goes on where it was: a row whose
key is wanted again is not generated again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

Model = Literal["base", "tuned"]

ANSWERING: Final = 1
"""Version of the way answers are generated and scored; raised when it changes, so that old rows are not reused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One answer.

    Attributes:
        key: what the answer depends on, see :func:`row_key`.
        sample: id of the record.
        model: ``base`` or ``tuned``.
        decoding: ``greedy`` or ``sampled``.
        prompt: the user's text.
        images: keys of the pictures, relative to the dataset's root.
        truth: the right answer in the shape of its task.
        text: exactly what the model said, without special tokens.
        answer: what was read from it, in the shape of the truth, or None when it cannot be read.
        problem: why it cannot be read, or None.
        scores: see :func:`airtune.answering.scoring.score`.
        tokens: how many tokens the answer has, the stop token included.
        cut_off: whether it ended only because it reached the allowed length.
    """

    key: str
    sample: str
    model: str
    decoding: str
    prompt: str
    images: tuple[str, ...]
    truth: Mapping[str, Any]
    text: str
    answer: Mapping[str, Any] | None
    problem: str | None
    scores: Mapping[str, float]
    tokens: int
    cut_off: bool

    def to_json(self) -> str:
        """The row as one line of JSON, without the line's end."""
        return json.dumps(
            {field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """Reads a row.

        Raises:
            ValueError: the line is not a row.
        """
        row = json.loads(line)
        if not isinstance(row, dict) or set(row) != {field.name for field in dataclasses.fields(cls)}:
            raise ValueError("not a prediction")
        return cls(**{**row, "images": tuple(row["images"])})


def row_key(sample: str, digest: str, model_fingerprint: str, conversation: Mapping[str, Any]) -> str:
    """What an answer depends on, in 16 hex digits: a row with the same key needs not be generated again.

    Args:
        sample: id of the record.
        digest: sha256 of the record's content.
        model_fingerprint: of the weights that answer, and of how they are loaded.
        conversation: everything else: system prompt and decoding.
    """
    facts = json.dumps([ANSWERING, sample, digest, model_fingerprint, conversation], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def read_predictions(path: Path) -> list[Prediction]:
    """The rows of a file in their order; none if there is no file.

    What a killed process left behind, a last line that breaks off, is passed over, as is any line that is no row.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    rows = []
    for line in lines:
        try:
            rows.append(Prediction.from_json(line))
        except (ValueError, TypeError):
            continue
    return rows


class PredictionFile:
    """The growing file of answers.

    Args:
        path: where it lies. Rows that are no longer wanted (another model, other sampling) are removed from it.
        wanted: the keys that this evaluation needs.
    """

    def __init__(self, path: Path, wanted: Collection[str]) -> None:
        self._path = path
        self._order = {key: position for position, key in enumerate(wanted)}
        self._rows = {row.key: row for row in read_predictions(path) if row.key in self._order}
        self._rewrite()  # also drops a torn last line, so that the next row begins on a line of its own

    @property
    def missing(self) -> int:
        """How many of the wanted keys have no answer yet."""
        return len(self._order) - len(self._rows)

    def lacks(self, key: str) -> bool:
        """Whether a wanted key has no answer yet."""
        return key in self._order and key not in self._rows

    @property
    def rows(self) -> list[Prediction]:
        """The answers so far, in the order in which their keys were wanted."""
        return sorted(self._rows.values(), key=lambda row: self._order[row.key])

    def add(self, rows: Iterable[Prediction]) -> None:
        """Append answers; they are on disk when this returns. Answers that are there already are not replaced."""
        new = [row for row in rows if row.key not in self._rows]
        with self._path.open("ab") as file:
            for row in new:
                file.write(_line(row))
            file.flush()
            os.fsync(file.fileno())
        self._rows.update((row.key, row) for row in new)

    def finish(self) -> Sequence[Prediction]:
        """Bring the file into its final order, the same after any number of interruptions, and return its rows.

        Raises:
            ValueError: answers are missing.
        """
        if self.missing:
            raise ValueError(f"{self.missing} answers are missing")
        self._rewrite()
        return self.rows

    def _rewrite(self) -> None:
        content = b"".join(map(_line, self.rows))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.read_bytes() == content:
            return
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        temporary.write_bytes(content)
        temporary.replace(self._path)


def _line(row: Prediction) -> bytes:
    # Half of a surrogate pair cannot be written as UTF-8; no model produces one, a dataset's text might hold one.
    return row.to_json().encode("utf-8", "replace") + b"\n"
