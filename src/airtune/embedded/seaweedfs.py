"""SeaweedFS, the S3 server of an airtune on one machine: one process, on 127.0.0.1, with keys of its own.

Everything it keeps lies in one folder: its data, its keys (mode 0600), the ports it had last time, its log.
Nothing is reachable from another machine, anonymous S3 requests are refused, and the HTTP doors behind S3
(filer, volume) want signed tokens. Its internal gRPC ports are open to other users of the *same* machine:
on a machine shared with people you do not trust, use an S3 server with accounts instead.

Told to stop, SeaweedFS waits 15 seconds for its own connections; it is killed after one. Nothing is lost:
what it has acknowledged was handed to the operating system before (a test kills it in the middle).

Conditional writes (If-None-Match, If-Match) are honoured, also between racing writers: see tests/stores.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from airtune.embedded import processes
from airtune.embedded.ports import LOOPBACK
from airtune.embedded.processes import Started
from airtune.embedded.seaweedfs_setup import (
    S3Keys,
    choose_ports,
    command,
    environment,
    load_keys,
    remove_sockets,
    write_identity,
)
from airtune.errors import DefectError, Problem

NAME: Final = "seaweedfs"
REGION: Final = "us-east-1"
BUCKET: Final = "airtune"

_READY_LIMIT_S: Final = 90.0
_STOP_WAIT_S: Final = 1.0


@dataclass(frozen=True)
class S3Server:
    """A server that runs and has answered.

    Attributes:
        url: its address, ``http://127.0.0.1:PORT``.
        keys: the keys of its one user.
        process: the process, to stop it by.
        folder: where everything of it lies.
    """

    url: str
    keys: S3Keys
    process: Started
    folder: Path

    def environment(self) -> dict[str, str]:
        """The variables by which boto3 (and so ``open_store("s3://...")``) finds this server."""
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": self.keys.access_key,
            "AWS_SECRET_ACCESS_KEY": self.keys.secret_key,
            "AWS_REGION": REGION,
        }


def start(folder: Path, *, buckets: Sequence[str] = (BUCKET,), env: Mapping[str, str] | None = None) -> S3Server:
    """Start the server over ``folder`` and wait until an object can be written and read.

    The ports of the last time are taken again where they are free, so that addresses keep working.

    Args:
        folder: made when it does not exist; what was stored there before is served again.
        buckets: made when they do not exist.
        env: further variables for the process.

    Returns:
        The running server. The caller stops it by :func:`stop`, or uses :func:`running` instead.

    Raises:
        SettingsError: SeaweedFS is not installed.
        DefectError: it ended, or did not answer in time. It is not left running.
    """
    data, log = folder / "data", folder / "server.log"
    data.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    keys = load_keys(folder / "keys.json")
    remove_sockets(folder)
    ports = choose_ports(folder)
    write_identity(folder / "s3.json", keys)
    surroundings = {**environment(folder, keys), **(env or {})}
    process = None
    try:
        with _signals_deferred():
            process = processes.start(NAME, command(folder, data, ports), env=surroundings, cwd=folder, log=log)
        server = S3Server(f"http://{LOOPBACK}:{ports['s3']}", keys, process, folder)
        _wait_until_ready(server, buckets, log)
    except BaseException:  # also Ctrl-C
        if process is not None:
            stop(process)
        raise
    return server


def stop(process: Started) -> None:
    """End the server: ask, wait a second, kill. No error when it has ended already."""
    found = process.process()
    if found is not None:
        for left in processes.stop([found], number=signal.SIGTERM, wait_s=_STOP_WAIT_S):
            processes.stop([left], number=signal.SIGKILL, wait_s=10)
    remove_sockets(Path(process.log).parent)


@contextmanager
def running(folder: Path, *, buckets: Sequence[str] = (BUCKET,)) -> Iterator[S3Server]:
    """The server for the time of a ``with`` block; it is stopped however the block ends, by Ctrl-C too."""
    server = start(folder, buckets=buckets)
    try:
        yield server
    finally:
        stop(server.process)


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM wait, so that no process is started that nobody knows of.

    The handlers are Python's own, which a new program does not inherit; blocked or ignored signals it would.
    """
    if threading.current_thread() is not threading.main_thread():  # signals do not arrive here
        yield
        return
    arrived: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: arrived.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
    if arrived:
        signal.raise_signal(arrived[0])


def _wait_until_ready(server: S3Server, buckets: Sequence[str], log: Path) -> None:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.session.Session().client(
        "s3",
        endpoint_url=server.url,
        aws_access_key_id=server.keys.access_key,
        aws_secret_access_key=server.keys.secret_key,
        region_name=REGION,
        config=Config(
            connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}
        ),
    )
    until = time.monotonic() + _READY_LIMIT_S
    while True:
        if server.process.process() is None:
            raise DefectError(Problem(NAME, "the S3 server ended while it started", fix=f"see {log}"))
        try:
            there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
            for bucket in buckets:
                if bucket not in there:
                    client.create_bucket(Bucket=bucket)
                client.put_object(Bucket=bucket, Key=".airtune-probe", Body=b"ready")
                client.get_object(Bucket=bucket, Key=".airtune-probe")["Body"].read()
                client.delete_object(Bucket=bucket, Key=".airtune-probe")
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > until:
                raise DefectError(
                    Problem(
                        NAME, f"the S3 server was not ready after {_READY_LIMIT_S:.0f} s ({error})", fix=f"see {log}"
                    )
                ) from error
            time.sleep(0.2)
        else:
            return
