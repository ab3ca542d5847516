"""Starts a stage under ``accelerate launch``, with the signals and the exit code that the launcher swallows.

``accelerate launch`` is how training and evaluation are started, on one device as on many. With one process it has
two habits that a scheduler cannot live with: it dies of SIGTERM (or, as process 1 of a container, ignores it) without
telling the trainer, which is orphaned or killed before it has saved anything; and whatever the trainer's exit code
was, its own is 1. So the launcher runs under a guard (:mod:`airtune.guard`), started by this module's ``main``:

    python -m airtune.launch accelerate launch --config_file single-gpu.yaml -m airtune.training RUN_URI

The guard sees to the signals: whoever starts it signals this one process, no group, and waits, while the stage saves
a checkpoint. The exit code is the one that the stage itself writes down. If the guard is killed outright, the launcher
dies with it, and the stage notices that it is an orphan and stops by itself.

Nothing heavy is imported here: Airflow's workers and the command line use it, too.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from airtune.configs import config_file
from airtune.errors import AirtuneError, ExitCode
from airtune.guard import Guard

TRAINING: Final = "airtune.training"
EVALUATION: Final = "airtune.evaluation"

EXIT_RECORD: Final = "AIRTUNE_EXIT_RECORD"
"""Names the file in which the stage writes its exit code for the supervisor; set by the supervisor."""

SUPERVISOR: Final = "AIRTUNE_SUPERVISOR"
"""Holds the supervisor's process id; set by the supervisor."""

TERMINATION_LOG: Final = Path("/dev/termination-log")
"""Where Kubernetes reads why a container ended."""

_TERMINATION_LOG_BYTES: Final = 4096

KILLED: Final = 137
"""What is reported when the stage ended without a word: killed from outside, for example for lack of memory."""


def accelerate_argv(module: str, run_uri: str, *, gpus: int, python: str | None = None) -> list[str]:
    """The command that runs a stage under ``accelerate launch``.

    The configuration is named, not given as a path: it is found in ``include/configs/accelerate`` of the machine or
    image where the command runs.

    Args:
        module: :data:`TRAINING` or :data:`EVALUATION`.
        run_uri: the run.
        gpus: how many GPUs the process may use: 0 is the CPU, 1 is one GPU.
        python: the interpreter; default ``python``, as it is found where the command runs.

    Returns:
        The arguments, program first. Signal that program alone; its exit code is the stage's.

    Raises:
        ValueError: more than one GPU.
    """
    if gpus not in (0, 1):
        raise ValueError(f"one process uses 0 or 1 GPU, not {gpus}")
    config = "single-gpu.yaml" if gpus else "cpu.yaml"
    return [
        *(python or "python", "-m", "airtune.launch"),
        *("accelerate", "launch", "--config_file", config, "--quiet", "-m", module, run_uri),
    ]


def exit_code_of(work: Callable[[], object]) -> int:
    """Runs a stage's work; what it raises becomes words on stderr and an exit code.

    The code also goes to the supervisor, and the words to Kubernetes' termination log where there is one, so that
    the pod's status says why.
    """
    record = os.environ.get(EXIT_RECORD)
    if record:
        with contextlib.suppress(OSError):
            Path(record).touch()  # from here on, silence means that the stage was killed
    try:
        work()
    except AirtuneError as error:
        code, words = int(error.exit_code), str(error)
        print(words, file=sys.stderr)
    except KeyboardInterrupt:
        code, words = int(ExitCode.PREEMPTED), "interrupted"
    except Exception as error:
        traceback.print_exc()
        code, words = int(ExitCode.DEFECT), f"{type(error).__name__}: {error}"
    else:
        code, words = int(ExitCode.DONE), ""
    sys.stdout.flush()
    sys.stderr.flush()
    if words and os.access(TERMINATION_LOG, os.W_OK):
        with contextlib.suppress(OSError):
            TERMINATION_LOG.write_text(words[: _TERMINATION_LOG_BYTES // 4], encoding="utf-8")
    if record:
        with contextlib.suppress(OSError):
            Path(record).write_text(str(code), encoding="ascii")
    return code


class Orphan:
    """Notices that nobody is left above this process who could tell it to stop.

    A launcher that dies alone leaves its stage to the supervisor, who tells it to stop: that is no orphan.
    """

    def __init__(self) -> None:
        supervisor = os.environ.get(SUPERVISOR)
        self._above = {os.getppid(), int(supervisor)} if supervisor else None

    def __bool__(self) -> bool:
        return self._above is not None and os.getppid() not in self._above


def main(arguments: Sequence[str] | None = None) -> int:
    """Supervises one launcher; returns the stage's exit code.

    Args:
        arguments: ``accelerate launch ...`` without this program's own name; default the command line.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        command = _resolved(given)
    except AirtuneError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    with tempfile.TemporaryDirectory(prefix="airtune-launch-") as folder:
        record = Path(folder) / "exit-code"
        return _supervise(command, record)


def _resolved(given: list[str]) -> list[str]:
    """The launcher's real command: this interpreter's accelerate, and the path of the named configuration."""
    if given[:2] != ["accelerate", "launch"]:
        raise SystemExit("usage: python -m airtune.launch accelerate launch [OPTIONS] -m MODULE RUN_URI")
    command = [sys.executable, "-m", "accelerate.commands.launch", *given[2:]]
    if "--config_file" in command:
        place = command.index("--config_file") + 1
        if place < len(command) and not Path(command[place]).is_file():
            command[place] = str(config_file("accelerate", command[place]))
    return command


def _supervise(command: Sequence[str], record: Path) -> int:
    guard = Guard(
        command, environment={**thread_settings(), **os.environ, EXIT_RECORD: str(record), SUPERVISOR: str(os.getpid())}
    )
    ended = guard.run()
    said = _recorded(record)
    if said is not None:
        return said
    if guard.told:  # told to stop before the stage could say anything: nothing is lost, another try resumes
        return int(ExitCode.PREEMPTED)
    if ended == 0:
        return int(ExitCode.DONE)
    return KILLED if record.exists() else int(ExitCode.DEFECT)


def thread_settings() -> dict[str, str]:
    """How many threads compute on the CPU where nobody has said so: one a core, and idle ones sleep.

    Waiting threads that spin take the cores from each other and from Airflow as soon as the machine is busy.
    """
    import psutil

    cores = min(psutil.cpu_count(logical=False) or 1, len(os.sched_getaffinity(0)))
    return {"OMP_NUM_THREADS": str(cores), "OMP_WAIT_POLICY": "PASSIVE"}


def _recorded(record: Path) -> int | None:
    try:
        return int(record.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


if __name__ == "__main__":
    sys.exit(main())
