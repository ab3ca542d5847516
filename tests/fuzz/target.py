"""Fuzzes one reader: ``python tests/fuzz/target.py FORMAT WORK [options of libFuzzer]``.

``WORK`` is a folder for the corpus and for what breaks the reader: a file ``crash-…`` (or ``timeout-…``, ``oom-…``)
there is an annotation file that ended in a traceback. Its first two bytes choose the file of the specimen that the rest
of it replaces, and the task; the same command with that file's path as the only option reads it once more.
"""

from __future__ import annotations

import os
import shutil
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
    shutil.rmtree(work / "dataset", ignore_errors=True)
    spoilt = Spoilt(name, work / "dataset")
    files = list(spoilt.files)
    for place, file in enumerate(files):
        for task in range(len(TASKS)):
            seed = bytes([place, task]) + spoilt.files[file]
            (corpus / f"{place}-{task}").write_bytes(seed)
    words = work / "words.dict"
    words.write_text("".join(f'"{_escaped(piece)}"\n' for piece in PIECES if 0 < len(piece) < 64))

    def one(data: bytes) -> None:
        place, task = data[:2].ljust(2, b"\0")
        spoilt.read(TASKS[task % len(TASKS)], {files[place % len(files)]: data[2:]})

    once = any(Path(option).is_file() for option in options)
    inputs = options if once else [f"-dict={words}", *options, str(corpus)]
    atheris.Setup([sys.argv[0], f"-artifact_prefix={work}/", *inputs], one)
    atheris.Fuzz()


def _escaped(piece: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in piece)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
