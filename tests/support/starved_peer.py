"""The trainer's command, ``python -m starved_peer RUN_URI``, with little memory in one of its processes.

``STARVED`` is ``RANK:BYTES``: from the moment when the first probe begins, the address space of that process is limited
for real, to so many bytes more than it has then.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from typing import Any

import torch
from starved import ARENA_MAX, MMAP_THRESHOLD, address_space

from airtune.training import ranks
from airtune.training.__main__ import main
from airtune.training.probe import Probe


class _StarvedProbe(Probe):
    """The probe itself, behind the limit."""

    begun = False

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        rank, room = map(int, os.environ["STARVED"].split(":"))
        if ranks.rank() == rank and not _StarvedProbe.begun:
            torch.autograd.backward(torch.ones(1, requires_grad=True).sum())  # starts threads, which take room once
            resource.setrlimit(resource.RLIMIT_AS, (address_space() + room, resource.RLIM_INFINITY))
        _StarvedProbe.begun = True
        super().on_train_begin(*args, **kwargs)


if __name__ == "__main__":
    from airtune.training import probe

    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_THRESHOLD, 64 * 1024)  # a tensor that is freed goes back at once, so that the limit is exact
    libc.mallopt(ARENA_MAX, 1)
    probe.Probe = _StarvedProbe  # type: ignore[misc]
    sys.exit(main())
