"""Free ports on the loopback address."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterable
from typing import Final

from airtune.errors import Problem, SettingsError

LOOPBACK: Final = "127.0.0.1"

_RANGE: Final = range(18000, 32000)
"""Below the ports that Linux hands out to outgoing connections, so that none is taken in between."""


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port(preferred: int | None = None, *, but: Iterable[int] = ()) -> int:
    """A free port: the preferred one where possible, so that a bookmark keeps working, else one by chance.

    Raises:
        SettingsError: none of a hundred tries was free.
    """
    taken = set(but)
    if preferred is not None and preferred not in taken and is_free(preferred):
        return preferred
    for _ in range(100):
        port = secrets.choice(_RANGE)
        if port not in taken and is_free(port):
            return port
    raise SettingsError(Problem(LOOPBACK, "no free port was found", allowed=f"{_RANGE.start} to {_RANGE.stop - 1}"))
