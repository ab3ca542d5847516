"""Fuzzes one reader: ``python tests/fuzz/target.py FORMAT WORK [options of libFuzzer]``.

``WORK`` is a folder for the corpus and for what breaks the reader: a file ``crash-…`` (or ``timeout-…``, ``oom-…``)
there is an annotation file that ended in a traceback. Its first byte chooses the task and the file of the specimen
that the rest of it replaces; the same command with that file's path as an option reads it once more.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

with atheris.instrument_imports(include=["airtune.datasets"]):
    from broken_datasets import PIECES, TASKS, Spoilt


def main(name: str, work: Path, options: list[str]) -> None:
    """Runs until the options' limit of time or the first crash; does not return."""
    work.mkdir(parents=True, exist_ok=True)
    os.environ["AIRTUNE_HOME"] = str(work / "home")
    corpus = work / "corpus"
    corpus.mkdir(exist_ok=True)
    spoilt = Spoilt(name, work / "dataset")
    files = list(spoilt.files)
    for place, file in enumerate(files):
        for task in range(len(TASKS)):
            seed = bytes([place * len(TASKS) + task]) + spoilt.files[file]
            (corpus / f"{place}-{task}").write_bytes(seed)
    words = work / "words.dict"
    words.write_text("".join(f'"{_escaped(piece)}"\n' for piece in PIECES if 0 < len(piece) < 64))

    def one(data: bytes) -> None:
        choice = data[0] if data else 0
        file, task = files[choice // len(TASKS) % len(files)], TASKS[choice % len(TASKS)]
        spoilt.read(task, {file: data[1:]})

    atheris.Setup([sys.argv[0], f"-artifact_prefix={work}/", f"-dict={words}", *options, str(corpus)], one)
    atheris.Fuzz()


def _escaped(piece: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in piece)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
