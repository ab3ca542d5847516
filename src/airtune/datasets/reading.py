"""All samples of a dataset onto the disk: read by this process, or by several where there is much to read."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from airtune.datasets.crew import Crew
from airtune.datasets.progress import Meter
from airtune.datasets.readers.formats import Reader
from airtune.datasets.readers.pieces import Divisible, Piece
from airtune.datasets.sources.source import Source
from airtune.datasets.spool import Spool, Spooled, spooled
from airtune.runspec.tasks import Task

WORTH_SPREADING: Final = 8 * 1024 * 1024
"""Bytes of annotations in a dataset from which on several processes read them."""

_READ_IN_PIECES: Final = (".json", ".jsonl", ".ndjson", ".xml", ".txt")


@dataclass(frozen=True, slots=True)
class _Job:
    reader: Path
    number: int
    piece: Piece
    task: Task


def is_large(source: Source) -> bool:
    """Whether there is so much to read that several processes do it, where the format allows."""
    return sum(size for key, size in source.keys.items() if key.lower().endswith(_READ_IN_PIECES)) >= WORTH_SPREADING


def read_samples(source: Source, reader: Reader, task: Task, spool: Spool, crew: Crew, meter: Meter) -> None:
    """Fill a spool with everything that a reader finds.

    Args:
        source: the dataset.
        reader: of its format.
        task: of the run.
        spool: is filled.
        crew: who reads.
        meter: told how many samples there are.
    """
    if not isinstance(reader, Divisible) or not is_large(source):
        spool.fill(reader.read(task), meter)
        return
    path = spool.folder / "reader.pickle"
    path.write_bytes(pickle.dumps(reader, protocol=5))

    def jobs(pieces: Iterator[Piece]) -> Iterator[_Job]:
        for number, piece in enumerate(pieces):
            yield _Job(path, number, piece, task)

    for part, counted in crew.each(_read, jobs(reader.pieces())):
        spool.add(part)
        reader.take_over(counted)
        meter(spool.samples)


def _read(job: _Job) -> tuple[Spooled, Any]:
    reader = _reader(job.reader)
    whole = Spooled()
    for part in spooled(reader.read_piece(job.piece, job.task), job.reader.with_name(f"piece-{job.number:06}")):
        whole.add(part)
    return whole, reader.hand_over()


@functools.lru_cache(maxsize=1)
def _reader(path: Path) -> Divisible:
    reader: Divisible = pickle.loads(path.read_bytes())  # noqa: S301  written above, in a folder of our own
    return reader
