"""``accelerate launch -m airtune.evaluation RUN_URI``: scores the base and the trained model of a run."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from airtune.errors import PreemptedError, Problem, SettingsError
from airtune.evaluation.stage import evaluate
from airtune.launch import exit_code_of
from airtune.stores.run_directory import RunDirectory
from airtune.stores.stage_record import stage


def main(arguments: list[str]) -> int:
    """Runs the stage for the run URI that is the only argument; returns the exit code."""
    if int(os.environ.get("RANK", "0")) > 0:
        return 0  # the first process answers alone
    signal.signal(signal.SIGTERM, _stop)
    return exit_code_of(lambda: _evaluate(arguments))


def _evaluate(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise SettingsError(Problem("arguments", "one run URI is needed", value=" ".join(arguments) or None))
    run = RunDirectory.open(arguments[0])
    with stage(run, "evaluate"):
        metrics = evaluate(run)
    primary = metrics["primary"]
    print(
        f"evaluate: {primary} {metrics['tuned']['greedy'][primary]:.4g} after training, "
        f"{metrics['base']['greedy'][primary]:.4g} before, on {metrics['samples']:,} samples",
        flush=True,
    )


def _stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise PreemptedError(Problem("evaluation", "told to stop; the answers so far are kept, another try goes on there"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
