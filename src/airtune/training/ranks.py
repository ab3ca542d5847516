"""The processes that train one run together: who this one is, and what they agree on.

Gradients are exchanged by accelerate (DDP, FSDP2). Here is the rest: one process reads or writes and the others wait,
and what one of them learns (told to stop, a sample that cannot be read, a loss that is no number) all of them know at
the same step. With a single process every function returns at once and no process group exists.

What is exchanged are numbers and small objects on the CPU, over gloo: on GPUs, too, where it disturbs no kernel.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, TypeVar

from airtune.errors import AirtuneError, DefectError, PeerError, Problem

Value = TypeVar("Value")

_PATIENCE: Final = timedelta(hours=12)
"""How long one process waits for another, which may be fetching a base model or writing a checkpoint. A process that
has died is noticed at once: its connections close, and the launcher ends the others."""

_group: Any = None


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """How many processes train this run, on all nodes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process writes what the run leaves: the first of all."""
    return rank() == 0


def is_first_here() -> bool:
    """Whether this process fetches what the processes of this node read: the first of them."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def place_here() -> tuple[int, int]:
    """This process's number among those of its node, and how many they are."""
    return int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def join() -> None:
    """Meets the other processes: before anything else of this module is asked, and by all of them.

    Raises:
        PeerError: they do not come.
    """
    global _group
    if world() == 1 or _group is not None:
        return
    import torch
    from accelerate import PartialState

    on_cpu = not torch.cuda.is_available() or os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    with peers_in_words():
        PartialState(cpu=on_cpu)
        _group = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)


def leave() -> None:
    """Takes leave of the other processes after everything went well."""
    global _group
    if _group is None:
        return
    import torch

    _group = None
    torch.distributed.destroy_process_group()


def agree(*flags: bool) -> tuple[bool, ...]:
    """Each flag raised by any process is raised for all of them."""
    return tuple(bool(value) for value in _reduced([int(flag) for flag in flags], "MAX"))


def largest(numbers: Sequence[int]) -> list[int]:
    """The largest of each number over all processes; all of them give as many."""
    return _reduced(numbers, "MAX")


def total(*numbers: float) -> tuple[float, ...]:
    """The sum of each number over all processes, in double precision."""
    return tuple(_reduced(numbers, "SUM"))


def gathered(value: Value) -> list[Value]:
    """Everybody's value, in the order of their ranks."""
    if _group is None:
        return [value]
    import torch

    found: list[Any] = [None] * world()
    with peers_in_words():
        torch.distributed.all_gather_object(found, value, group=_group)
    return found


def told_by_main(value: Value) -> Value:
    """The main process's value; what the others give is not looked at."""
    if _group is None:
        return value
    import torch

    box = [value]
    with peers_in_words():
        torch.distributed.broadcast_object_list(box, src=0, group=_group)
    return box[0]


def wait() -> None:
    """Returns when all processes are here."""
    agree(False)


def raise_together(error: AirtuneError | None) -> None:
    """Raises in every process what was found in any of them; the first process's finding counts.

    Raises:
        AirtuneError: some process has found something.
    """
    if _group is None:
        if error is not None:
            raise error
        return
    found = next((each for each in gathered(error) if each is not None), None)
    if found is not None:
        found.shared = not is_main()
        raise found


@contextmanager
def first_here() -> Iterator[None]:
    """The first process of each node does the work within; the others do it afterwards, and find it done.

    An error of the first is the end of all.
    """
    failure: AirtuneError | None = None
    if is_first_here():
        try:
            yield
        except AirtuneError as error:
            failure = error
    raise_together(failure)
    if not is_first_here():
        yield


@contextmanager
def peers_in_words() -> Iterator[None]:
    """What a collective says when another process is gone becomes a :class:`PeerError`."""
    try:
        yield
    except AirtuneError:
        raise
    except Exception as error:
        if not is_about_a_peer(error):
            raise
        raise lost(error) from error


def is_about_a_peer(error: BaseException) -> bool:
    """Whether an error comes from the exchange with other processes, not from this one's own work."""
    if world() == 1:
        return False
    import torch

    said = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and any(name in said for name in ("gloo", "nccl", "connection closed by peer"))
    )


def lost(error: BaseException) -> PeerError:
    """The same error in words."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return PeerError(
        Problem(f"process {rank()} of {world()}", f"another process of this run is gone ({reason})",
                fix="see what ended it; another try resumes from the newest checkpoint")
    )  # fmt: skip


def _reduced(numbers: Sequence[Any], operation: str) -> list[Any]:
    if _group is None:
        if world() > 1:
            raise DefectError(Problem("ranks", "join() was not called"))
        return list(numbers)
    import torch

    kind = torch.float64 if operation == "SUM" else torch.int64
    tensor = torch.tensor(list(numbers), dtype=kind)
    with peers_in_words():
        torch.distributed.all_reduce(tensor, op=getattr(torch.distributed.ReduceOp, operation), group=_group)
    found: list[Any] = tensor.tolist()
    return found
