"""Loads the published bundle in a fresh process and holds its answers against those of the trained model.

What is compared are greedy answers, text by text: they are the same when weights, processor, chat template,
quantisation and prompt all arrived.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from airtune.environment import Environment
from airtune.errors import DefectError, ExitCode, GpuMemoryError, Problem
from airtune.launch import thread_settings
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

Answer = Callable[[Path, Path], Mapping[str, str]]
"""From the bundle's folder and the run's workspace to sample id -> answer."""

_SHOWN: Final = 5
_TAIL: Final = 20


def answers_of_fresh_process(bundle: Path, workspace: Path) -> Mapping[str, str]:
    """The greedy answers of the bundle, given by a new Python process that knows nothing else.

    Args:
        bundle: the folder that holds ``model_full`` (and ``model_adapter``).
        workspace: of the run, for the validation samples.

    Raises:
        DefectError: the bundle could not be loaded.
        GpuMemoryError: it does not fit on the device.
    """
    out = bundle / "answers.json"
    command = [sys.executable, "-m", "airtune.evaluation.reload", str(bundle), str(out), "--run", str(workspace)]
    environment = {
        **thread_settings(),
        **os.environ,
        "AIRTUNE_HOME": str(Environment.read().home),  # the process starts in another folder
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    tail: deque[str] = deque(maxlen=_TAIL)
    with subprocess.Popen(
        command,
        cwd=bundle,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as child:
        try:
            for line in child.stdout or iter(""):
                print(line, end="", flush=True)
                tail.append(line.rstrip())
            code = child.wait()
        except BaseException:  # also a stop signal: the child must not outlive us
            child.kill()
            raise
    if code == ExitCode.OUT_OF_MEMORY:
        raise GpuMemoryError(Problem("reload", "the published bundle does not fit on the device"))
    if code != 0 or not out.is_file():
        raise DefectError(
            Problem("reload", f"the published bundle could not be loaded in a fresh process (exit {code})",
                    value="\n".join(tail)[-2000:], fix="see the lines above")
        )  # fmt: skip
    return _answers(json.loads(out.read_text(encoding="utf-8")))


def compare(run: RunDirectory, answers: Mapping[str, str]) -> dict[str, Any]:
    """The content of ``publishing/reload.json``.

    Returns:
        ``agreement`` (share of samples with the same text, 0 to 1), ``samples``, ``different`` (up to five samples
        with both texts).

    Raises:
        DefectError: the evaluation has no greedy answers of the tuned model.
    """
    expected = {}
    with (run.workspace / layout.PREDICTIONS).open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["model"] == "tuned" and row["decoding"] == "greedy":
                expected[str(row["sample"])] = str(row["text"])
    if not expected:
        raise DefectError(
            Problem(f"{run.uri}/{layout.PREDICTIONS}", "has no greedy answers of the tuned model to compare with",
                    fix="run `airtune evaluate` again")
        )  # fmt: skip
    different = [
        {"sample": sample, "trained": text, "published": answers.get(sample)}
        for sample, text in expected.items()
        if answers.get(sample) != text
    ]
    return {
        "agreement": 1 - len(different) / len(expected),
        "samples": len(expected),
        "different": different[:_SHOWN],
    }


def _answers(document: Any) -> dict[str, str]:
    rows: Any = document.get("answers") if isinstance(document, dict) else document
    if isinstance(rows, dict):
        return {str(sample): str(text) for sample, text in rows.items()}
    return {str(row["sample"]): str(row["text"]) for row in rows}
