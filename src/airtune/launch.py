"""Starts a stage under ``accelerate launch``, with the signals and the exit code that the launcher swallows.

``accelerate launch`` is how training and evaluation are started, on one device as on many. With one process it has
two habits that a scheduler cannot live with: it dies of SIGTERM (or, as process 1 of a container, ignores it) without
telling the trainer, which is orphaned or killed before it has saved anything; and whatever the trainer's exit code
was, its own is 1. So the launcher runs under a guard (:mod:`airtune.guard`), started by this module's ``main``:

    python -m airtune.launch accelerate launch --config_file single-gpu.yaml -m airtune.training RUN_URI

The guard sees to the signals: whoever starts it signals this one process, no group, and waits, while the stage saves
a checkpoint. The exit code is the one that the stage itself writes down. If the guard is killed outright, the launcher
dies with it, and the stage notices that it is an orphan and stops by itself.

With several processes the launcher is torch's elastic agent. It passes SIGTERM on and waits as long as the guard does
(torch's own 30 s would be too short for a checkpoint); when one process ends badly it ends the others. Each process
writes down how it ended, and :func:`ending` makes one exit code of them: the reason, not what followed from it.

Nothing heavy is imported here: Airflow's workers and the command line use it, too.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from airtune.configs import config_file
from airtune.errors import AirtuneError, ExitCode, PeerError, Problem, SettingsError
from airtune.guard import Guard, grace_of_environment

TRAINING: Final = "airtune.training"
EVALUATION: Final = "airtune.evaluation"

EXIT_RECORD: Final = "AIRTUNE_EXIT_RECORD"
"""Names the folder in which each process of the stage writes how it ended, in a file with its rank for a name; set by
the supervisor."""

SUPERVISOR: Final = "AIRTUNE_SUPERVISOR"
"""Holds the supervisor's process id; set by the supervisor."""

ELASTIC_TIMEOUT: Final = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"
"""Says how long torch's agent waits for processes that it has told to stop, in seconds."""

TERMINATION_LOG: Final = Path("/dev/termination-log")
"""Where Kubernetes reads why a container ended."""

_TERMINATION_LOG_BYTES: Final = 4096

_PEER: Final = "peer"

KILLED: Final = 137
"""What is reported when the stage ended without a word: killed from outside, for example for lack of memory."""


def accelerate_argv(
    module: str,
    run_uri: str,
    *,
    gpus: int,
    sharded: bool = False,
    processes: int | None = None,
    nodes: int = 1,
    python: str | None = None,
) -> list[str]:
    """The command that runs a stage under ``accelerate launch``.

    The configuration is named, not given as a path: it is found in ``include/configs/accelerate`` of the machine or
    image where the command runs. Training takes one process a GPU: copies of the model that exchange gradients (DDP),
    or, with ``sharded``, shares of one model (FSDP2). An evaluation is one process, on one GPU at most.

    Args:
        module: :data:`TRAINING` or :data:`EVALUATION`.
        run_uri: the run.
        gpus: how many GPUs there are on each node: 0 is the CPU.
        sharded: whether the model's weights are divided among the processes: full fine-tuning on several GPUs.
        processes: how many processes train on each node; default one a GPU. Without GPUs they exchange over gloo.
        nodes: how many nodes train together. On each the same command runs; which of them it is, and where the first
            one is, say the variables of :func:`rendezvous` there.
        python: the interpreter; default ``python``, as it is found where the command runs.

    Returns:
        The arguments, program first. Signal that program alone; its exit code is the stage's.

    Raises:
        ValueError: a negative number of GPUs, or more processes than GPUs.
    """
    each = processes or max(1, gpus)
    if gpus < 0 or nodes < 1 or (gpus and each > gpus):
        raise ValueError(f"{each} processes on {gpus} GPUs of {nodes} nodes")
    options = []
    if module != TRAINING or each * nodes == 1:
        config = "single-gpu" if gpus else "cpu"
    else:
        config = "several-nodes" if nodes > 1 else "multi-gpu" if gpus else "multi-cpu"
        config += "-fsdp2" if sharded else ""
        options = ["--num_processes", str(each * nodes)]
        if nodes > 1:
            options += ["--num_machines", str(nodes)]
    return [
        *(python or "python", "-m", "airtune.launch", "accelerate", "launch"),
        *("--config_file", f"{config}.yaml", *options, "--quiet", "-m", module, run_uri),
    ]


def exit_code_of(work: Callable[[], object]) -> int:
    """Runs a stage's work; what it raises becomes words on stderr and an exit code.

    The code also goes to the supervisor, and the words to Kubernetes' termination log where there is one, so that
    the pod's status says why.
    """
    record = _record_of_this_process()
    if record is not None:
        with contextlib.suppress(OSError):
            record.touch()  # from here on, silence means that the stage was killed
    peer = False
    try:
        work()
    except AirtuneError as error:
        code, words, peer = int(error.exit_code), str(error), isinstance(error, PeerError)
        if not error.shared:
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
            if not TERMINATION_LOG.stat().st_size:  # of several processes the first one to end knows the reason
                TERMINATION_LOG.write_text(words[: _TERMINATION_LOG_BYTES // 4], encoding="utf-8")
    if record is not None:
        with contextlib.suppress(OSError):
            record.write_text(_PEER if peer else str(code), encoding="ascii")
    return code


def _record_of_this_process() -> Path | None:
    folder = os.environ.get(EXIT_RECORD)
    return Path(folder, os.environ.get("RANK", "0")) if folder else None


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
        return _supervise(command, Path(folder))


def _resolved(given: list[str]) -> list[str]:
    """The launcher's real command: this interpreter's accelerate, the path of the named configuration, the nodes."""
    if given[:2] != ["accelerate", "launch"]:
        raise SystemExit("usage: python -m airtune.launch accelerate launch [OPTIONS] -m MODULE RUN_URI")
    options = list(given[2:])
    if "--config_file" in options:
        place = options.index("--config_file") + 1
        if place < len(options) and not Path(options[place]).is_file():
            options[place] = str(config_file("accelerate", options[place]))
    if "--num_machines" in options and "--machine_rank" not in options:
        options = [*rendezvous(), *options]
    return [sys.executable, "-m", "accelerate.commands.launch", *options]


def rendezvous(variables: Mapping[str, str] | None = None) -> list[str]:
    """The launcher's options that say which node this is, and where the first one is.

    ``AIRTUNE_NODE_RANK`` is this node's number, from 0 (default ``JOB_COMPLETION_INDEX``, which an Indexed Job of
    Kubernetes sets); ``AIRTUNE_MAIN_ADDRESS`` the first node's ``host:port`` (the port defaults to 29500).

    Raises:
        SettingsError: they are not set, or not usable.
    """
    given = os.environ if variables is None else variables
    node = given.get("AIRTUNE_NODE_RANK") or given.get("JOB_COMPLETION_INDEX") or ""
    host, _, port = given.get("AIRTUNE_MAIN_ADDRESS", "").partition(":")
    problems = []
    if not (node.isascii() and node.isdigit()):
        problems.append(Problem("AIRTUNE_NODE_RANK", "is needed on each of several nodes", repr(node), "0, 1, 2 ..."))
    if not host or not (port or "0").isdigit():
        problems.append(
            Problem("AIRTUNE_MAIN_ADDRESS", "is needed on each of several nodes", repr(host and f"{host}:{port}"),
                    "host:port of the first node")
        )  # fmt: skip
    if problems:
        raise SettingsError(problems)
    return ["--machine_rank", node, "--main_process_ip", host, "--main_process_port", port or "29500"]


def _supervise(command: Sequence[str], records: Path) -> int:
    environment = {**_environment(command), **os.environ, EXIT_RECORD: str(records), SUPERVISOR: str(os.getpid())}
    guard = Guard(command, environment=environment)
    ended = guard.run()
    said = {int(path.name): path.read_text(encoding="ascii") for path in records.iterdir() if path.name.isdigit()}
    return ending(said, processes=_processes_here(command), launcher=ended, told=guard.told)


def ending(said: Mapping[int, str], *, launcher: int, told: bool, processes: int = 1) -> int:
    """One exit code for all processes of a stage: the reason, not what followed from it.

    A process that ends with an error of its own comes first: the launcher ends the others for it. Then one that fell
    silent without having been told to stop: it was killed. One that only noticed that another is gone comes last.

    Args:
        said: what each process wrote down, by its rank; empty when it fell silent. One that never began is not there.
        launcher: the launcher's own exit code.
        told: whether all were told to stop.
        processes: how many there should be.
    """
    codes = [int(text) for _, text in sorted(said.items()) if text.isdigit()]
    own = [code for code in codes if code not in (ExitCode.DONE, ExitCode.PREEMPTED)]
    if own:
        return own[0]
    if ExitCode.PREEMPTED in codes and (told or "" not in said.values()):
        return int(ExitCode.PREEMPTED)
    if told and len(codes) < processes:  # nothing is lost: another try resumes
        return int(ExitCode.PREEMPTED)
    if "" in said.values():
        return KILLED
    if _PEER in said.values():
        return int(ExitCode.STORE)
    return int(ExitCode.DONE) if launcher == 0 or len(codes) == processes else int(ExitCode.DEFECT)


def _environment(command: Sequence[str]) -> dict[str, str]:
    """Variables for the launcher and the stage, where nobody has set them."""
    found = {**thread_settings(_processes_here(command)), ELASTIC_TIMEOUT: f"{grace_of_environment():.0f}"}
    if "--config_file" in command and Path(command[command.index("--config_file") + 1]).name.startswith("multi-cpu"):
        found["ACCELERATE_USE_CPU"] = "true"  # accelerate forgets use_cpu when it starts several processes
    return found


def _processes_here(command: Sequence[str]) -> int:
    """How many processes the launcher starts on this node."""
    processes, nodes = (
        int(command[command.index(option) + 1]) if option in command else 1
        for option in ("--num_processes", "--num_machines")
    )
    return processes // nodes


def thread_settings(processes: int = 1) -> dict[str, str]:
    """How many threads compute on the CPU where nobody has said so: one a core, and idle ones sleep.

    Waiting threads that spin take the cores from each other and from Airflow as soon as the machine is busy.
    """
    import psutil

    cores = min(psutil.cpu_count(logical=False) or 1, len(os.sched_getaffinity(0)))
    return {"OMP_NUM_THREADS": str(max(1, cores // processes)), "OMP_WAIT_POLICY": "PASSIVE"}


if __name__ == "__main__":
    sys.exit(main())
