"""Trains runs one after another in one process that is given little memory: its address space is limited for real.

Usage: python starved.py JSON, a list of objects with ``uri``, ``room`` (bytes beyond what the process has; null: no
limit) and ``after`` (the step after which the limit comes, 0: at once). Prints one line of JSON, the exit codes.
"""

from __future__ import annotations

import ctypes
import json
import resource
import sys
import threading
import time
from pathlib import Path

from airtune.launch import exit_code_of
from airtune.stores.run_directory import RunDirectory
from airtune.training.__main__ import train
from airtune.training.stopping import StopRequest

MMAP_THRESHOLD = -3
ARENA_MAX = -8


def main() -> None:
    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_THRESHOLD, 64 * 1024)  # a tensor that is freed goes back at once, so that the limit is exact
    libc.mallopt(ARENA_MAX, 1)
    codes = []
    for given in json.loads(sys.argv[1]):
        before = address_space()
        watcher = threading.Thread(target=limit, args=(given["uri"], given["after"], before, given["room"]))
        if given["after"]:
            watcher.start()
        elif given["room"] is not None:
            resource.setrlimit(resource.RLIMIT_AS, (before + given["room"], resource.RLIM_INFINITY))
        codes.append(exit_code_of(lambda uri=given["uri"]: train(uri, StopRequest())))
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if given["after"]:
            watcher.join()
    print(json.dumps(codes))


def limit(uri: str, after: int, before: int, room: int) -> None:
    """Limits the address space as soon as the step is on record."""
    metrics = RunDirectory.open(uri).workspace / "training" / "metrics.jsonl"
    while len(metrics.read_text().splitlines() if metrics.is_file() else []) < after:
        time.sleep(0.01)
    resource.setrlimit(resource.RLIMIT_AS, (before + room, resource.RLIM_INFINITY))


def address_space() -> int:
    """Bytes of address space that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
