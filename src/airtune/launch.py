"""Starts a stage under ``accelerate launch``, with the signals and the exit code that the launcher swallows.

``accelerate launch`` is how training and evaluation are started, on one device as on many. With one process it has
two habits that a scheduler cannot live with: it dies of SIGTERM (or, as process 1 of a container, ignores it) without
telling the trainer, which is orphaned or killed before it has saved anything; and whatever the trainer's exit code
was, its own is 1. So the launcher runs under a small supervisor, this module's ``main``:

    python -m airtune.launch accelerate launch --config_file single-gpu.yaml -m airtune.training RUN_URI

It passes SIGTERM and SIGINT on to the launcher's children (not to the launcher, which waits for them), and ends with
the exit code that the stage itself wrote down. Whoever starts it signals this one process, no group, and waits: the
stage saves a checkpoint first. If the supervisor is killed outright, the launcher dies with it and the stage notices
that it is an orphan and stops by itself.

Nothing heavy is imported here: Airflow's workers and the command line use it, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from airtune.configs import config_file
from airtune.errors import AirtuneError, ExitCode

TRAINING: Final = "airtune.training"
EVALUATION: Final = "airtune.evaluation"

EXIT_RECORD: Final = "AIRTUNE_EXIT_RECORD"
"""Names the file in which the stage writes its exit code for the supervisor; set by the supervisor."""

TERMINATION_LOG: Final = Path("/dev/termination-log")
"""Where Kubernetes reads why a container ended."""

_TERMINATION_LOG_BYTES: Final = 4096

KILLED: Final = 137
"""What is reported when the stage ended without a word: killed from outside, for example for lack of memory."""

_POLL_S: Final = 0.2
_PR_SET_PDEATHSIG: Final = 1


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
    record = os.environ.get(EXIT_RECORD)
    if record:
        with contextlib.suppress(OSError):
            Path(record).write_text(str(code), encoding="ascii")
    return code


class Orphan:
    """Notices that the launcher above this process is gone, so that nobody will ever signal it."""

    def __init__(self) -> None:
        self._parent = os.getppid() if os.environ.get(EXIT_RECORD) else None

    def __bool__(self) -> bool:
        return self._parent is not None and os.getppid() != self._parent


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
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        del frame
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        environment = {**thread_settings(), **os.environ, EXIT_RECORD: str(record)}
        launcher = subprocess.Popen(command, env=environment, preexec_fn=_die_with_parent)
        seen = _wait(launcher, asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    code = _recorded(record)
    if code is not None:
        return code
    if asked:  # told to stop before the stage could say anything: nothing is lost, another try resumes
        return int(ExitCode.PREEMPTED)
    if launcher.returncode == 0:
        return int(ExitCode.DONE)
    return KILLED if seen else int(ExitCode.DEFECT)


def thread_settings() -> dict[str, str]:
    """How many threads compute on the CPU where nobody has said so: one a core, and idle ones sleep.

    Waiting threads that spin take the cores from each other and from Airflow as soon as the machine is busy.
    """
    import psutil

    cores = min(psutil.cpu_count(logical=False) or 1, len(os.sched_getaffinity(0)))
    return {"OMP_NUM_THREADS": str(cores), "OMP_WAIT_POLICY": "PASSIVE"}


def _wait(launcher: subprocess.Popen[bytes], asked: list[int]) -> bool:
    """Waits for the launcher and the processes below it, passing on what was asked; whether any were seen."""
    import psutil

    children: dict[int, psutil.Process] = {}
    told: set[int] = set()
    while True:
        with contextlib.suppress(psutil.Error):
            children.update((child.pid, child) for child in psutil.Process(launcher.pid).children())
        running = [child for child in children.values() if _runs(child)]
        gone = launcher.poll() is not None
        if gone and not running:
            return bool(children)
        if asked or gone:
            # A launcher that died alone leaves a stage that nobody can reach any more: it is told to stop as well.
            for child in running:
                if child.pid not in told:
                    told.add(child.pid)
                    with contextlib.suppress(psutil.Error):
                        child.send_signal(signal.SIGTERM)
            if asked and not gone and not children:
                launcher.terminate()
        if gone or told:
            time.sleep(_POLL_S)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                launcher.wait(_POLL_S)


def _runs(process: Any) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _recorded(record: Path) -> int | None:
    try:
        return int(record.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _die_with_parent() -> None:
    """In the launcher, before it starts: be killed when the supervisor is, however that ends (Linux only)."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
